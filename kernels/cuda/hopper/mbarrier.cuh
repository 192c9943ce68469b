// mbarrier: an 8-byte object in shared memory that counts arrivals and bytes of asynchronous copies, in phases.
//
// A phase ends when `count` arrivals have come and no expected byte is missing. Phases alternate in parity, the first
// has parity 0; a wait for a parity returns once the newest ended phase has it, so a wait for 1 on a fresh barrier
// returns at once. Stage q of a ring of S waits for "full" with parity (q / S) & 1 and for "empty" with the other one.
// Initialise by one thread, fence_mbarrier_init(), __syncthreads().
#pragma once

#include "kernels/cuda/hopper/shared_memory.cuh"

namespace sy::kernels::cuda {

__device__ __forceinline__ void mbarrier_init(uint32_t barrier, uint32_t count) {
#if defined(SY_CUDA_SIM)
  cuda_sim::mbarrier_init(barrier, count);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
#endif
}

__device__ __forceinline__ void fence_mbarrier_init() {
#if !defined(SY_CUDA_SIM)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

// Before the memory serves another purpose or another init.
__device__ __forceinline__ void mbarrier_inval(uint32_t barrier) {
#if defined(SY_CUDA_SIM)
  cuda_sim::mbarrier_inval(barrier);
#else
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
#endif
}

__device__ __forceinline__ void mbarrier_arrive(uint32_t barrier) {
#if defined(SY_CUDA_SIM)
  cuda_sim::mbarrier_arrive(barrier);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}

// At most 2^20 - 1 bytes in a phase.
__device__ __forceinline__ void mbarrier_expect_tx(uint32_t barrier, uint32_t bytes) {
#if defined(SY_CUDA_SIM)
  cuda_sim::mbarrier_expect_tx(barrier, bytes);
#else
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#endif
}

__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint32_t barrier, uint32_t bytes) {
#if defined(SY_CUDA_SIM)
  cuda_sim::mbarrier_expect_tx(barrier, bytes);
  cuda_sim::mbarrier_arrive(barrier);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#endif
}

// May fail although the phase is about to end: a peek, or the body of a loop.
__device__ __forceinline__ bool mbarrier_try_wait(uint32_t barrier, uint32_t parity) {
#if defined(SY_CUDA_SIM)
  return cuda_sim::mbarrier_try_wait(barrier, parity);
#else
  uint32_t ended;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.b32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(ended)
      : "r"(barrier), "r"(parity)
      : "memory");
  return ended != 0;
#endif
}

__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t parity) {
#if defined(SY_CUDA_SIM)
  cuda_sim::mbarrier_wait(barrier, parity);
#else
  while (!mbarrier_try_wait(barrier, parity)) {
  }
#endif
}

}  // namespace sy::kernels::cuda
