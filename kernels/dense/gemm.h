// Dense matrix product, row-major:  C[M,N] = op(A)[M,K] op(B)[K,N]  (+ C when accumulate).
//
// op(A) is A[M,K] (lda >= K) or, with transpose_a, the transpose of A[K,M] (lda >= M); B likewise: B[K,N] or B[N,K].
// Sums are kept in Acc<In>. (In, Out) is one of (f32,f32) (f64,f64) (bf16,bf16) (bf16,f32).
// Deterministic: the summation order depends only on the shape, with Cuda also on the device and on what powers of two
// up to 256 divide the addresses. K = 0 writes zeros (or leaves C, accumulating). The Cpu body
// (kernels/cpu/gemm_product.h) promises more: the bits of a row of C depend on K, that row of A and B alone, not on m,
// n, the row's place or the number of threads.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class In, class Out>
struct Gemm {
  const In* a = nullptr;
  const In* b = nullptr;
  Out* c = nullptr;
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;

  Work work() const {
    return {.flops = product_flops(m, n, k),
            .bytes = bytes_of<In>(m * k + k * n) + bytes_of<Out>(m * n) * (accumulate ? 2 : 1),
            .factor_bytes = sizeof(In)};
  }
};

template <class In, class Out>
void gemm(Cpu, const Gemm<In, Out>& args);
template <class In, class Out>
void gemm(Cuda, const Gemm<In, Out>& args);

}  // namespace sy::kernels
