// Simulated CUDA, device side: what the wrappers of kernels/cuda/hopper call instead of an sm_90a instruction.
//
// Every function stands for one instruction of the running thread; addresses are 32-bit shared addresses. Faults and
// the moments at which asynchronous work happens: shared_bytes.h, async_work.h and the file of each unit.
#pragma once

#include <cstdint>

struct CUtensorMap_st;

namespace sy::cuda_sim {

// shared_access.cpp
uint32_t shared_address(const void* pointer);
void store_shared(uint32_t address, const void* values, uint32_t count);
void proxy_fence();
// Four 8 x 8 matrices of 16-bit elements; lane j gives the address of row j % 8 of matrix j / 8. num: 1, 2 or 4.
void load_matrices(uint32_t row_address, uint32_t* registers, int num, bool transposed);
void store_matrices(uint32_t row_address, const uint32_t* registers, int num, bool transposed);

// mbarrier.cpp
void mbarrier_init(uint32_t address, uint32_t count);
void mbarrier_inval(uint32_t address);
void mbarrier_expect_tx(uint32_t address, uint32_t bytes);
void mbarrier_arrive(uint32_t address);
bool mbarrier_try_wait(uint32_t address, uint32_t parity);
void mbarrier_wait(uint32_t address, uint32_t parity);
// Of the barrier at the address; for tests of the simulator.
struct MbarrierState {
  int64_t phase, pending, tx;
};
MbarrierState mbarrier_state(uint32_t address);

// copy_async.cpp
void copy_async_16(uint32_t to, const void* from, uint32_t bytes);
void copy_async_commit();
void copy_async_wait(int num_pending_groups);
void copy_async_arrive(uint32_t barrier, bool counted_by_init);

// tensor_copy.cpp
enum class StoreKind : uint8_t { kWrite, kAdd };
void tensor_load(uint32_t to, const CUtensorMap_st* map, uint32_t barrier, const int* coordinates, int rank);
void tensor_store(StoreKind kind, const CUtensorMap_st* map, uint32_t from, const int* coordinates, int rank);
void bulk_commit();
void bulk_wait(int num_pending_groups, bool reads_only);

// wgmma.cpp
struct WarpgroupMma {
  float* d;           // n / 2 accumulators of the thread
  const uint32_t* a;  // 4 registers of A, or null: then a_descriptor says where A lies
  uint64_t a_descriptor, b_descriptor;
  int n;
  bool accumulate, negate_a, a_mn_major, b_mn_major;
};
void wgmma_fence();
void wgmma(const WarpgroupMma& mma);
void wgmma_commit();
void wgmma_wait(int num_pending_groups);

// warpgroup.cpp
bool elect_one();
void named_barrier(int id, int threads, bool wait);
void set_max_registers(int count, bool increase);

// dependent_launch.cpp
void start_dependent_grids();
void wait_for_earlier_grids();

}  // namespace sy::cuda_sim
