// y = x + bias in every row.  dbias += the sum over rows of dy: a product with ones, in the accumulation type.
#include "csrc/core/launch.h"
#include "csrc/ops/matmul.h"
#include "csrc/ops/ops.h"
#include "kernels/dense/elementwise.h"

namespace sy::ops {

namespace {

void add_column_sums(Context& ctx, const Tensor& dy, const Tensor& sums) {
  const Tensor ones = ctx.empty({1, dy.dim(0)}, dy.dtype(), MemoryKind::workspace);
  dispatch_float(dy.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, fill, (kernels::Fill<T>{.y = ones.data<T>(), .count = ones.count(), .value = 1}));
  });
  matmul(ctx, ones, dy, sums.reshape({1, dy.dim(1)}), {.accumulate = true});
}

}  // namespace

Var add_bias(Context& ctx, const Var& x, Parameter& bias) {
  SY_CHECK(x.shape().size() == 2 && bias.value.count() == x.dim(1), "bias '{}' {} for {}", bias.name,
           shape_string(bias.value.shape()), shape_string(x.shape()));
  // In place: the projection before does not read its own output in backward.
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, add_row,
              (kernels::AddRow<T>{
                  .row = bias.value.data<T>(), .y = x.value().data<T>(), .rows = x.dim(0), .columns = x.dim(1)}));
  });
  const bool record = needs_record(ctx, {&x}, true);
  Var out(x.value(), record);
  if (record)
    ctx.tape->record(
        [&ctx, x, out, b = &bias]() {
          Tensor dy = out.take_grad();
          if (!dy.defined()) return;
          add_column_sums(ctx, dy, b->grad);
          x.add_grad(ctx, std::move(dy));
        },
        {&bias});
  return out;
}

}  // namespace sy::ops
