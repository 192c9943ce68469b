// Simulated CUDA that sees every load and store of a kernel: what the executor and the runtime tell it.
//
// The checked build compiles the kernels with -fsanitize=thread and answers the compiler's calls itself
// (access_callbacks.cpp). A kernel that does one of these ends with a Fault that names the statements:
//   - race: two accesses to one byte, at least one of them a plain store, not ordered by a barrier. Threads of a block
//     are ordered by __syncthreads, lanes of a warp also by __syncwarp (shuffles and votes order no memory), blocks of
//     a launch by nothing. Atomics do not race with atomics;
//   - read of what nobody wrote: shared memory since the block began, device memory since it was allocated;
//   - access outside every allocation, every shared variable and the thread's own stack.
// It also counts the bytes that kernels read and write in device memory (Counters).
//
// Not seen: memcpy and memset called by a kernel; order between streams; order by flags (a block that waits for another
// one's atomic would be reported as a race); unwritten bytes of a load of more than 8 bytes beside written ones, which
// may be a struct's padding; a static shared array overrun into the next one (ASan sees it, preset
// sim-asan).
//
// In the plain build the hooks are empty.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sy::cuda_sim::access_checker {

enum class Access : uint8_t { kRead, kWrite, kAtomic };

#if defined(SY_CUDA_SIM_CHECKED)

// Memory that kernels can reach. Pinned memory counts as written: the host may write it at any time.
void allocated(const void* address, size_t bytes, bool is_pinned);
void released(const void* address);
void written(const void* address, size_t bytes);
void copied(const void* to, const void* from, size_t bytes);

// One kernel at a time; end_launch() also after a fault.
void begin_launch(const void* kernel);
void end_launch();
void begin_block(const void* dynamic_shared, size_t bytes);
// A thread's own code begins with enter_kernel(); what runs before it on the thread's stack is the launch.
void start_thread(int thread, const void* stack, size_t stack_bytes);
void enter_kernel();
void resume_thread(int thread, const void* stack, size_t stack_bytes);
void block_barrier();
void warp_barrier(int warp, unsigned mask);

// Kernels, before each access. Nothing may be thrown through instrumented code: a fault leaves by stop_block().
void access(const void* address, size_t bytes, Access kind, const void* return_address);

#else

inline void allocated(const void*, size_t, bool) {}
inline void released(const void*) {}
inline void written(const void*, size_t) {}
inline void copied(const void*, const void*, size_t) {}
inline void begin_launch(const void*) {}
inline void end_launch() {}
inline void begin_block(const void*, size_t) {}
inline void start_thread(int, const void*, size_t) {}
inline void enter_kernel() {}
inline void resume_thread(int, const void*, size_t) {}
inline void block_barrier() {}
inline void warp_barrier(int, unsigned) {}
inline void access(const void*, size_t, Access, const void*) {}

#endif

}  // namespace sy::cuda_sim::access_checker
