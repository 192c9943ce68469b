// silu(gate) * up (kernels/dense/swiglu.h).
#include "kernels/dense/swiglu.h"

#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"

namespace sy::ops {

Var swiglu(Context& ctx, const Var& h, const Tensor& row_end) {
  SY_CHECK(h.shape().size() == 2 && h.dim(1) % 2 == 0, "swiglu of {}", shape_string(h.shape()));
  const int64_t rows = h.dim(0), width = h.dim(1) / 2;
  const int32_t* end = row_end.defined() ? row_end.data<int32_t>() : nullptr;
  Tensor a = ctx.empty({rows, width}, h.dtype());
  dispatch_float(h.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, swiglu_forward,
              (kernels::SwigluForward<T>{
                  .h = h.value().data<T>(), .a = a.data<T>(), .rows = rows, .width = width, .row_end = end}));
  });
  const bool record = needs_record(ctx, {&h});
  Var out(std::move(a), record);
  if (record)
    ctx.tape->record([&ctx, h, out, row_end, end, rows, width]() {
      const Tensor da = out.take_grad();
      if (!da.defined()) return;
      Tensor dh = ctx.empty(h.shape(), h.dtype());
      dispatch_float(h.dtype(), [&]<class T>() {
        SY_LAUNCH(ctx, swiglu_backward,
                  (kernels::SwigluBackward<T>{.da = da.data<T>(),
                                              .h = h.value().data<T>(),
                                              .dh = dh.data<T>(),
                                              .rows = rows,
                                              .width = width,
                                              .row_end = end}));
      });
      h.add_grad(ctx, std::move(dh));
    });
  return out;
}

}  // namespace sy::ops
