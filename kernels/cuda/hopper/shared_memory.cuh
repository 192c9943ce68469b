// Shared memory by 32-bit address, and the fence between its two proxies.
//
// Ordinary loads and stores, cp.async, ldmatrix and stmatrix go through the generic proxy; bulk copies and wgmma go
// through the async proxy. What the one wrote is not what the other reads, unless
//   - a bulk load was waited for on its mbarrier, or
//   - each writing thread executed fence_async_shared() after its writes, before the barrier that the reader waits at.
// Everything in kernels/cuda/hopper needs sm_90a (simulated CUDA: tests/cuda_sim/hopper.h).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cuda/launch.cuh"
#if defined(SY_CUDA_SIM)
#include "tests/cuda_sim/hopper.h"
#endif

namespace sy::kernels::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
#if defined(SY_CUDA_SIM)
  return cuda_sim::shared_address(pointer);
#else
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
#endif
}

// A store of 2, 4, 8 or 16 bytes, aligned to its size. What a bulk store or wgmma reads is written in this way or by
// store_matrices(): simulated CUDA cannot order stores through plain pointers and refuses them there.
template <class T>
__device__ __forceinline__ void store_shared(uint32_t address, const T& value) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
#if defined(SY_CUDA_SIM)
  cuda_sim::store_shared(address, &value, sizeof(T));
#else
  if constexpr (sizeof(T) == 2) {
    uint16_t half;
    memcpy(&half, &value, 2);
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(address), "h"(half) : "memory");
  } else {
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &value, sizeof(T));
    if constexpr (sizeof(T) == 4) asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(words[0]) : "memory");
    else if constexpr (sizeof(T) == 8)
      asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(address), "r"(words[0]), "r"(words[1]) : "memory");
    else
      asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(words[0]), "r"(words[1]),
                   "r"(words[2]), "r"(words[3])
                   : "memory");
  }
#endif
}

// Generic accesses of this thread to shared memory before it come before accesses of the async proxy after it.
__device__ __forceinline__ void fence_async_shared() {
#if defined(SY_CUDA_SIM)
  cuda_sim::proxy_fence();
#else
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// The same for global memory that a bulk copy of this kernel reads after ordinary stores.
__device__ __forceinline__ void fence_async_global() {
#if !defined(SY_CUDA_SIM)
  asm volatile("fence.proxy.async.global;" ::: "memory");
#endif
}

}  // namespace sy::kernels::cuda
