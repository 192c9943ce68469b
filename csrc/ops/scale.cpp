// factor x; the gradient is scaled alike.
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/dense/elementwise.h"

namespace sy::ops {

namespace {

Tensor scaled(Context& ctx, const Tensor& x, double factor) {
  Tensor y = ctx.empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, scale,
              (kernels::Scale<T>{.x = x.data<T>(), .y = y.data<T>(), .count = y.count(), .factor = factor}));
  });
  return y;
}

}  // namespace

Var scale(Context& ctx, const Var& x, double factor) {
  const bool record = needs_record(ctx, {&x});
  Var out(scaled(ctx, x.value(), factor), record);
  if (record)
    ctx.tape->record([&ctx, x, out, factor]() {
      const Tensor dy = out.take_grad();
      if (dy.defined()) x.add_grad(ctx, scaled(ctx, dy, factor));
    });
  return out;
}

}  // namespace sy::ops
