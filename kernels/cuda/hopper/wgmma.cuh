// Warpgroup matrix product, bf16 x bf16 -> f32: D (64 x n) = A (64 x 16) B (16 x n) [+ D], executed by the 128 threads
// of a warpgroup together.
//
// Accumulator i of thread t = 32 w + l is element (16 w + l / 4 + 8 (i / 2 % 2), 8 (i / 4) + 2 (l % 4) + i % 2) of D.
// Accumulators 8 j .. 8 j + 7, packed to pairs of bf16, are the registers of A for block j of 16 of its depth.
// Use: wgmma_fence(); wgmma<n>(...) for all steps of k; wgmma_commit(); wgmma_wait<0>(). Between fence and wait nothing
// touches the accumulators, and whoever overwrites an operand in shared memory comes after the wait. The compiler keeps
// products asynchronous only if d is a plain array with constant indices and no function call lies between.
#pragma once

#include "kernels/cuda/hopper/shared_memory.cuh"
#include "kernels/cuda/hopper/wgmma_descriptor.cuh"
#include "kernels/cuda/hopper/wgmma_registers.cuh"

namespace sy::kernels::cuda {

// Accesses of this thread to the accumulators and registers of A before it come before products after it.
__device__ __forceinline__ void wgmma_fence() {
#if defined(SY_CUDA_SIM)
  cuda_sim::wgmma_fence();
#else
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

__device__ __forceinline__ void wgmma_commit() {
#if defined(SY_CUDA_SIM)
  cuda_sim::wgmma_commit();
#else
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  static_assert(kPending >= 0 && kPending <= 7);
#if defined(SY_CUDA_SIM)
  cuda_sim::wgmma_wait(kPending);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

// The compiler must not move accesses to the accumulators across this: stands before a fence and behind a commit.
template <int kCount>
__device__ __forceinline__ void keep_in_registers(float (&d)[kCount]) {
#if !defined(SY_CUDA_SIM)
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
#else
  (void)d;
#endif
}

// The widths that wgmma_registers.cuh lists.
#define SY_WGMMA_IS(n, ...) || kN == n
template <int kN>
inline constexpr bool kIsWgmmaWidth = false SY_WGMMA_WIDTHS(SY_WGMMA_IS);
#undef SY_WGMMA_IS

// Product with both operands in shared memory. accumulate = false ignores what d holds; kNegateA gives -A B [+ D].
template <int kN, Major kMajorA = Major::kK, Major kMajorB = Major::kK, bool kNegateA = false>
__device__ __forceinline__ void wgmma(float (&d)[kN / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kIsWgmmaWidth<kN>);
#if defined(SY_CUDA_SIM)
  cuda_sim::wgmma({.d = d,
                   .a = nullptr,
                   .a_descriptor = a,
                   .b_descriptor = b,
                   .n = kN,
                   .accumulate = accumulate,
                   .negate_a = kNegateA,
                   .a_mn_major = kMajorA == Major::kMn,
                   .b_mn_major = kMajorB == Major::kMn});
#else
#define SY_WGMMA(n, p0, p1, p2, p3, p4, p5, p6)                                                 \
  if constexpr (kN == n)                                                                        \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p2                                         \
                 ", 0;\n"                                                                       \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" SY_WGMMA_TEXT_##n \
                 "}, " p0 ", " p1 ", p, " p3 ", 1, " p4 ", " p5 ";\n}\n"                        \
                 : SY_WGMMA_D_##n                                                               \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kNegateA ? -1 : 1),   \
                   "n"(static_cast<int>(kMajorA)), "n"(static_cast<int>(kMajorB)));
  SY_WGMMA_WIDTHS(SY_WGMMA)
#undef SY_WGMMA
#endif
}

// Product with A in registers.
template <int kN, Major kMajorB = Major::kK>
__device__ __forceinline__ void wgmma(float (&d)[kN / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(kIsWgmmaWidth<kN>);
#if defined(SY_CUDA_SIM)
  cuda_sim::wgmma({.d = d,
                   .a = a,
                   .a_descriptor = 0,
                   .b_descriptor = b,
                   .n = kN,
                   .accumulate = accumulate,
                   .negate_a = false,
                   .a_mn_major = false,
                   .b_mn_major = kMajorB == Major::kMn});
#else
#define SY_WGMMA(n, p0, p1, p2, p3, p4, p5, p6)                                                           \
  if constexpr (kN == n)                                                                                  \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p5                                                   \
                 ", 0;\n"                                                                                 \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" SY_WGMMA_TEXT_##n           \
                 "}, {" p0 ", " p1 ", " p2 ", " p3 "}, " p4 ", p, 1, 1, " p6 ";\n}\n"                     \
                 : SY_WGMMA_D_##n                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), \
                   "n"(static_cast<int>(kMajorB)));
  SY_WGMMA_WIDTHS(SY_WGMMA)
#undef SY_WGMMA
#endif
}

}  // namespace sy::kernels::cuda
