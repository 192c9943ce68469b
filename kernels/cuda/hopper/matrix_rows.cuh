// ldmatrix and stmatrix: 8 x 8 matrices of 16-bit elements between shared memory and the registers of a warp.
//
// Lane j gives the address of row j % 8 of matrix j / 8 (16-byte aligned). Register r of lane l holds row l / 4,
// columns 2 (l % 4) and + 1 (low half first) of matrix r; with kTransposed rows 2 (l % 4) and + 1 of column l / 4. All
// lanes of the warp execute it together.
#pragma once

#include "kernels/cuda/hopper/shared_memory.cuh"

namespace sy::kernels::cuda {

template <bool kTransposed = false>
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t row_address) {
#if defined(SY_CUDA_SIM)
  cuda_sim::load_matrices(row_address, r, 4, kTransposed);
#else
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row_address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row_address)
                 : "memory");
#endif
}

template <bool kTransposed = false>
__device__ __forceinline__ void store_matrices(uint32_t row_address, const uint32_t (&r)[4]) {
#if defined(SY_CUDA_SIM)
  cuda_sim::store_matrices(row_address, r, 4, kTransposed);
#else
  if constexpr (kTransposed)
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address), "r"(r[0]),
                 "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
  else
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address), "r"(r[0]),
                 "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
#endif
}

// Two floats as neighbouring bf16, the first in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  return static_cast<uint32_t>(bf16(low).bits) | static_cast<uint32_t>(bf16(high).bits) << 16;
}

}  // namespace sy::kernels::cuda
