// y = x W^T.  dx = dy W,  dW += dy^T x (into the main gradient, in the accumulation type).
#include "csrc/ops/matmul.h"
#include "csrc/ops/ops.h"

namespace sy::ops {

Var linear(Context& ctx, const Var& x, Parameter& weight) {
  SY_CHECK(x.shape().size() == 2 && weight.value.shape().size() == 2 && x.dim(1) == weight.value.dim(1),
           "linear '{}': x {} and weight {}", weight.name, shape_string(x.shape()), shape_string(weight.value.shape()));
  Tensor y = ctx.empty({x.dim(0), weight.value.dim(0)}, x.dtype());
  matmul(ctx, x.value(), weight.value, y, {.transpose_b = true});
  const bool record = needs_record(ctx, {&x}, true);
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record(
        [&ctx, x, out, w = &weight]() {
          const Tensor dy = out.take_grad();
          if (!dy.defined()) return;
          matmul(ctx, dy, x.value(), w->grad, {.transpose_a = true, .accumulate = true});
          if (!x.requires_grad()) return;
          Tensor dx = ctx.empty(x.shape(), x.dtype());
          matmul(ctx, dy, w->value, dx, {});
          x.add_grad(ctx, std::move(dx));
        },
        {&weight});
  return out;
}

}  // namespace sy::ops
