// Simulated CUDA, host side: runs a grid of blocks on the CPU, every CUDA thread of a block as a fiber.
//
// Blocks run one after the other, the threads of a block interleave only where they wait (barrier, warp collective), in
// an order that is a function of the schedule seed: the same seed gives the same interleaving. What CUDA leaves
// undefined and hardware answers with a hang or with garbage is a Fault here, thrown as streams.h says:
//   - a barrier that some thread of the block never reaches (it exited, or waits elsewhere),
//   - threads of one block at different barrier statements,
//   - a warp collective whose mask names lanes that exited, do not exist, or take part in another collective.
// An illegal launch shape is reported as on hardware, through cudaGetLastError().
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "tests/cuda_sim/memory.h"
#include "tests/cuda_sim/streams.h"

namespace sy::cuda_sim {

struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What ran since the last reset_counters(). Tests read them to prove the absence of something.
struct Counters {
  int64_t launches = 0;
  int64_t blocks = 0;
  int64_t host_syncs = 0;  // calls after which the host has waited for the device (blocking copies and frees included)
  int64_t float_atomics = 0;  // atomic additions on float or double, which are not deterministic on hardware
  int64_t allocations = 0;    // cudaMalloc and cudaMallocAsync
  // By loads and stores of kernels, in the checked build only (access_checker.h).
  int64_t device_bytes_read = 0, device_bytes_written = 0;
};
Counters& counters();
void reset_counters();

// Enqueues on `stream` a run of `thread_body` once per thread of the grid. `kernel` identifies the function for its
// dynamic shared memory limit. The threads of a block are started and resumed in an order that the schedule seed of the
// launch gives: 0 ascending, 1 descending (lane 0 of a warp comes last and runs ahead of the lower warps), otherwise a
// drawn permutation. A kernel whose result depends on it lacks a barrier.
// may_start_early: dependent_launch.h.
void launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes, cudaStream_t stream,
            std::function<void()> thread_body, bool may_start_early);

// Called by a thread of a kernel: its block ends with a Fault, without unwinding, for callers that may not throw.
[[noreturn]] void stop_block(const std::string& message);

// Shared with runtime.cpp: the error that cudaGetLastError() will return, and cudaFuncSetAttribute's table.
void set_last_error(cudaError_t error);
size_t dynamic_shared_limit(const void* kernel);

inline constexpr int kMaxThreadsPerBlock = 1024;
inline constexpr size_t kDefaultSharedBytes = 48 * 1024;
inline constexpr size_t kMaxSharedBytes = 227 * 1024;  // opt-in limit of sm_90

}  // namespace sy::cuda_sim
