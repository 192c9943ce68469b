// cp.async: a thread copies 16 bytes from global to shared memory without waiting, in groups of its own.
//
// The copies are generic accesses: wgmma may read them only behind fence_async_shared(), executed by every thread of
// the reading warpgroup after it has seen that they are done.
#pragma once

#include "kernels/cuda/hopper/shared_memory.cuh"

namespace sy::kernels::cuda {

// The first `bytes` of 16 are copied, the rest is filled with zeros; `from` is a valid address even for 0 bytes.
__device__ __forceinline__ void copy_async_16(uint32_t to, const void* from, uint32_t bytes = 16) {
#if defined(SY_CUDA_SIM)
  cuda_sim::copy_async_16(to, from, bytes);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(bytes)
               : "memory");
#endif
}

__device__ __forceinline__ void copy_async_commit() {
#if defined(SY_CUDA_SIM)
  cuda_sim::copy_async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until at most kPending of this thread's groups are under way; other threads need a barrier on top.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
#if defined(SY_CUDA_SIM)
  cuda_sim::copy_async_wait(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// One arrival at the barrier when all earlier copies of this thread are done; the barrier's count includes it.
__device__ __forceinline__ void copy_async_arrive_noinc(uint32_t barrier) {
#if defined(SY_CUDA_SIM)
  cuda_sim::copy_async_arrive(barrier, true);
#else
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
#endif
}

// The same for a barrier whose count does not include it: the phase only lasts longer, the thread arrives itself too.
__device__ __forceinline__ void copy_async_arrive(uint32_t barrier) {
#if defined(SY_CUDA_SIM)
  cuda_sim::copy_async_arrive(barrier, false);
#else
  asm volatile("cp.async.mbarrier.arrive.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
#endif
}

}  // namespace sy::kernels::cuda
