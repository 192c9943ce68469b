// Rows weighted by a gate of their own (kernels/moe/sigmoid_gate.h).
#include "kernels/moe/sigmoid_gate.h"

#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"

namespace sy::ops {

Var sigmoid_gate(Context& ctx, const Var& x, const Var& gate) {
  SY_CHECK(x.shape().size() == 2 && gate.value().count() == x.dim(0) && gate.dtype() == x.dtype(),
           "sigmoid_gate of {} by {}", shape_string(x.shape()), shape_string(gate.shape()));
  const int64_t rows = x.dim(0), dim = x.dim(1);
  Tensor y = ctx.empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(
        ctx, sigmoid_gate_forward,
        (kernels::SigmoidGateForward<T>{
            .gate = gate.value().data<T>(), .x = x.value().data<T>(), .y = y.data<T>(), .rows = rows, .dim = dim}));
  });
  const bool record = needs_record(ctx, {&x, &gate});
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record([&ctx, x, gate, out, rows, dim]() {
      const Tensor dy = out.take_grad();
      if (!dy.defined()) return;
      Tensor dx = ctx.empty(x.shape(), x.dtype()), dgate = ctx.empty(gate.shape(), gate.dtype());
      dispatch_float(x.dtype(), [&]<class T>() {
        SY_LAUNCH(ctx, sigmoid_gate_backward,
                  (kernels::SigmoidGateBackward<T>{.dy = dy.data<T>(),
                                                   .gate = gate.value().data<T>(),
                                                   .x = x.value().data<T>(),
                                                   .dx = dx.data<T>(),
                                                   .dgate = dgate.data<T>(),
                                                   .rows = rows,
                                                   .dim = dim}));
      });
      x.add_grad(ctx, std::move(dx));
      gate.add_grad(ctx, std::move(dgate));
    });
  return out;
}

}  // namespace sy::ops
