// c = op(a) op(b) (+ c) on 2-d tensors: the shape arithmetic around kernels/dense/gemm.h, shared by the ops.
#pragma once

#include "csrc/core/context.h"

namespace sy::ops {

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;
};

// a and b have one type; c has it too, or f32 for bf16 operands.
void matmul(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& c, const MatmulOptions& options);

}  // namespace sy::ops
