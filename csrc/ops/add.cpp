// a + b; both receive the output's gradient.
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/dense/elementwise.h"

namespace sy::ops {

Var add(Context& ctx, const Var& a, const Var& b) {
  SY_CHECK(a.shape() == b.shape() && a.dtype() == b.dtype(), "add of {} and {}", shape_string(a.shape()),
           shape_string(b.shape()));
  Tensor y = ctx.empty(a.shape(), a.dtype());
  dispatch_float(a.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, add,
              (kernels::Add<T>{
                  .a = a.value().data<T>(), .b = b.value().data<T>(), .y = y.data<T>(), .count = y.count()}));
  });
  const bool record = needs_record(ctx, {&a, &b});
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record([&ctx, a, b, out]() {
      Tensor dy = out.take_grad();
      if (!dy.defined()) return;
      a.add_grad(ctx, dy);
      b.add_grad(ctx, std::move(dy));
    });
  return out;
}

}  // namespace sy::ops
