// One product per expert over its rows; counts are read on the device (kernels/moe/grouped_gemm.h).
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/moe/grouped_gemm.h"

namespace sy::ops {

Var grouped_linear(Context& ctx, const Var& x, Parameter& bank, const RowIndex& index, int64_t first_slot) {
  const Shape& w = bank.value.shape();
  SY_CHECK(w.size() == 3 && x.dim(0) == index.rows && x.dim(1) == w[2] && first_slot + w[0] <= index.slots,
           "grouped_linear '{}': x {}, bank {}, slots {}+", bank.name, shape_string(x.shape()), shape_string(w), first_slot);
  const int64_t experts = w[0], out_dim = w[1], in_dim = w[2];
  const Tensor start = index.seg_start.slice(first_slot, first_slot + experts);
  const Tensor counts = index.seg_count.slice(first_slot, first_slot + experts);
  // A bank that owns only some slots leaves the other rows zero, so that the outputs of several banks can be added.
  const bool partial = experts != index.slots;
  Tensor y = partial ? ctx.zeros({index.rows, out_dim}, x.dtype()) : ctx.empty({index.rows, out_dim}, x.dtype());
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, grouped_gemm_forward,
              (kernels::GroupedGemmForward<T>{.x = x.value().data<T>(),
                                              .w = bank.value.data<T>(),
                                              .y = y.data<T>(),
                                              .seg_start = start.data<int32_t>(),
                                              .seg_count = counts.data<int32_t>(),
                                              .experts = experts,
                                              .rows = index.rows,
                                              .in_dim = in_dim,
                                              .out_dim = out_dim}));
  });
  const bool record = needs_record(ctx, {&x}, true);
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record(
        [&ctx, x, out, w = &bank, start, counts, experts, in_dim, out_dim, partial]() {
          const Tensor dy = out.take_grad();
          if (!dy.defined()) return;
          dispatch_float(x.dtype(), [&]<class T>() {
            SY_LAUNCH(ctx, grouped_gemm_wgrad,
                      (kernels::GroupedGemmWgrad<T>{.dy = dy.data<T>(),
                                                    .x = x.value().data<T>(),
                                                    .dw = w->grad.data<Acc<T>>(),
                                                    .seg_start = start.data<int32_t>(),
                                                    .seg_count = counts.data<int32_t>(),
                                                    .experts = experts,
                                                    .rows = x.dim(0),
                                                    .in_dim = in_dim,
                                                    .out_dim = out_dim}));
            if (!x.requires_grad()) return;
            Tensor dx = partial ? ctx.zeros(x.shape(), x.dtype()) : ctx.empty(x.shape(), x.dtype());
            SY_LAUNCH(ctx, grouped_gemm_dgrad,
                      (kernels::GroupedGemmDgrad<T>{.dy = dy.data<T>(),
                                                    .w = w->value.data<T>(),
                                                    .dx = dx.data<T>(),
                                                    .seg_start = start.data<int32_t>(),
                                                    .seg_count = counts.data<int32_t>(),
                                                    .experts = experts,
                                                    .rows = x.dim(0),
                                                    .in_dim = in_dim,
                                                    .out_dim = out_dim}));
            x.add_grad(ctx, std::move(dx));
          });
        },
        {&bank});
  return out;
}

}  // namespace sy::ops
