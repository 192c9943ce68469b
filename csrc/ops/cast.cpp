// The same values in another floating type; the gradient is cast back.
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/dense/elementwise.h"

namespace sy::ops {

namespace {

Tensor cast_tensor(Context& ctx, const Tensor& x, DType dtype) {
  Tensor y = ctx.empty(x.shape(), dtype);
  dispatch_float(x.dtype(), [&]<class From>() {
    dispatch_float(dtype, [&]<class To>() {
      SY_LAUNCH(ctx, cast, (kernels::Cast<From, To>{.x = x.data<From>(), .y = y.data<To>(), .count = x.count()}));
    });
  });
  return y;
}

}  // namespace

Var cast(Context& ctx, const Var& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  const bool record = needs_record(ctx, {&x});
  Var out(cast_tensor(ctx, x.value(), dtype), record);
  if (record)
    ctx.tape->record([&ctx, x, out]() {
      const Tensor dy = out.take_grad();
      if (dy.defined()) x.add_grad(ctx, cast_tensor(ctx, dy, x.dtype()));
    });
  return out;
}

}  // namespace sy::ops
