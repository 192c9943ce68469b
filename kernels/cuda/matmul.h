// One product by cuBLASLt, column-major:  C[m,n] = op(A)[m,k] op(B)[k,n]  (+ C when accumulate), with m, n, k >= 1.
//
// op(A) is A[m,k] (lda >= m) or, with transpose_a, the transpose of A[k,m] (lda >= k); B likewise. Types are f32, f64
// and bf16, the latter also with an f32 result. Sums are kept in f32 (no TF32), of f64 operands in f64.
#pragma once

#include <library_types.h>

#include "kernels/types.h"

namespace sy::kernels::cuda {

struct Matmul {
  cudaDataType_t operands, result;
  const void *a, *b;
  void* c;
  bool transpose_a, transpose_b, accumulate;
  int64_t m, n, k, lda, ldb, ldc;
};

void matmul(Cuda ctx, const Matmul& args);

}  // namespace sy::kernels::cuda
