// Roles of warps in a block: one elected lane, barriers among some of the warps, registers moved between warpgroups.
#pragma once

#include "kernels/cuda/hopper/shared_memory.cuh"

namespace sy::kernels::cuda {

// True on one lane of the converged warp, which one is not specified but always the same.
__device__ __forceinline__ bool elect_one() {
#if defined(SY_CUDA_SIM)
  return cuda_sim::elect_one();
#else
  uint32_t elected;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.b32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(elected)
      :
      : "memory");
  return elected != 0;
#endif
}

// Barriers 1..15 for `threads` (whole warps) of the block, those that wait and those that only arrive together.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
#if defined(SY_CUDA_SIM)
  cuda_sim::named_barrier(id, threads, true);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
#if defined(SY_CUDA_SIM)
  cuda_sim::named_barrier(id, threads, false);
#else
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// Registers per thread of the calling warpgroup, a multiple of 8 in 24..256. An increase waits until others have given
// back enough: the counts of all warpgroups must fit the block's pool. Needs __launch_bounds__(threads, 1).
template <int kCount>
__device__ __forceinline__ void release_registers() {
#if defined(SY_CUDA_SIM)
  cuda_sim::set_max_registers(kCount, false);
#else
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
__device__ __forceinline__ void claim_registers() {
#if defined(SY_CUDA_SIM)
  cuda_sim::set_max_registers(kCount, true);
#else
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

// Programmatic dependent launch. A kernel that was launched by launch_early() reads and overwrites what earlier kernels
// use only after wait_for_earlier_kernels(), which every block of it calls. start_dependent_kernels(), called by every
// block, lets the next kernel begin; it promises nothing about memory.
__device__ __forceinline__ void wait_for_earlier_kernels() {
#if defined(SY_CUDA_SIM)
  cuda_sim::wait_for_earlier_grids();
#else
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void start_dependent_kernels() {
#if defined(SY_CUDA_SIM)
  cuda_sim::start_dependent_grids();
#else
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace sy::kernels::cuda
