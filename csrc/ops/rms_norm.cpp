// RMS norm of rows, and of the q and k heads inside a fused qkv buffer (kernels/dense/rms_norm.h).
#include "kernels/dense/rms_norm.h"
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/dense/elementwise.h"

namespace sy::ops {

namespace {

// `groups` vectors of `dim` elements per row, starting at column `column` of x and y [rows, ld].
struct Vectors {
  int64_t column, groups, dim;
};

Tensor normalise(Context& ctx, const Tensor& x, const Tensor& y, const Parameter& weight, const Vectors& v,
                 double epsilon) {
  const int64_t rows = x.dim(0);
  Tensor rstd = ctx.empty({rows * v.groups}, accumulation_dtype(x.dtype()));
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, rms_norm_forward,
              (kernels::RmsNormForward<T>{.x = x.data<T>() + v.column,
                                          .weight = weight.value.data<T>(),
                                          .y = y.data<T>() + v.column,
                                          .rstd = rstd.data<Acc<T>>(),
                                          .rows = rows,
                                          .groups = v.groups,
                                          .dim = v.dim,
                                          .ldx = x.dim(1),
                                          .ldy = y.dim(1),
                                          .epsilon = epsilon}));
  });
  return rstd;
}

void normalise_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& rstd, const Tensor& dx,
                        Parameter& weight, const Vectors& v) {
  const int64_t rows = x.dim(0);
  const Tensor partials = ctx.empty({kernels::rms_norm_backward_partials(rows * v.groups, v.dim)},
                                    accumulation_dtype(x.dtype()), MemoryKind::workspace);
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, rms_norm_backward,
              (kernels::RmsNormBackward<T>{.dy = dy.data<T>() + v.column,
                                           .x = x.data<T>() + v.column,
                                           .weight = weight.value.data<T>(),
                                           .rstd = rstd.data<Acc<T>>(),
                                           .dx = dx.data<T>() + v.column,
                                           .dweight = weight.grad.data<Acc<T>>(),
                                           .partials = partials.data<Acc<T>>(),
                                           .rows = rows,
                                           .groups = v.groups,
                                           .dim = v.dim,
                                           .lddy = dy.dim(1),
                                           .ldx = x.dim(1),
                                           .lddx = dx.dim(1)}));
  });
}

void copy_columns(Context& ctx, const Tensor& from, const Tensor& to, int64_t column, int64_t columns) {
  dispatch_float(from.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, copy_columns,
              (kernels::CopyColumns<T>{.x = from.data<T>() + column,
                                       .y = to.data<T>() + column,
                                       .rows = from.dim(0),
                                       .columns = columns,
                                       .ldx = from.dim(1),
                                       .ldy = to.dim(1)}));
  });
}

}  // namespace

Var rms_norm(Context& ctx, const Var& x, Parameter& weight, double epsilon) {
  SY_CHECK(x.shape().size() == 2 && weight.value.count() == x.dim(1), "rms_norm '{}': x {} and weight {}", weight.name,
           shape_string(x.shape()), shape_string(weight.value.shape()));
  const Vectors all{0, 1, x.dim(1)};
  Tensor y = ctx.empty(x.shape(), x.dtype());
  const Tensor rstd = normalise(ctx, x.value(), y, weight, all, epsilon);
  const bool record = needs_record(ctx, {&x}, true);
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record(
        [&ctx, x, out, rstd, all, w = &weight]() {
          const Tensor dy = out.take_grad();
          if (!dy.defined()) return;
          Tensor dx = ctx.empty(x.shape(), x.dtype());
          normalise_backward(ctx, dy, x.value(), rstd, dx, *w, all);
          x.add_grad(ctx, std::move(dx));
        },
        {&weight});
  return out;
}

Var head_norm(Context& ctx, const Var& qkv, Parameter& q_weight, Parameter& k_weight, const AttentionShape& s,
              double epsilon) {
  const int64_t q_columns = s.heads * s.head_dim, k_columns = s.kv_heads * s.head_dim;
  const int64_t q_width = q_weight.value.count(), k_width = k_weight.value.count();
  SY_CHECK(qkv.dim(1) == s.columns() && q_columns % q_width == 0 && k_columns % k_width == 0,
           "head_norm over {} and {} elements: qkv {} for {} + 2 x {} heads of {}", q_width, k_width,
           shape_string(qkv.shape()), s.heads, s.kv_heads, s.head_dim);
  const Vectors q{0, q_columns / q_width, q_width}, k{q_columns, k_columns / k_width, k_width};
  const int64_t v_column = (s.heads + s.kv_heads) * s.head_dim, v_columns = s.kv_heads * s.head_dim;
  Tensor y = ctx.empty(qkv.shape(), qkv.dtype());
  const Tensor q_rstd = normalise(ctx, qkv.value(), y, q_weight, q, epsilon);
  const Tensor k_rstd = normalise(ctx, qkv.value(), y, k_weight, k, epsilon);
  copy_columns(ctx, qkv.value(), y, v_column, v_columns);
  const bool record = needs_record(ctx, {&qkv}, true);
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record(
        [&ctx, qkv, out, q_rstd, k_rstd, q, k, v_column, v_columns, qw = &q_weight, kw = &k_weight]() {
          const Tensor dy = out.take_grad();
          if (!dy.defined()) return;
          Tensor dx = ctx.empty(qkv.shape(), qkv.dtype());
          normalise_backward(ctx, dy, qkv.value(), q_rstd, dx, *qw, q);
          normalise_backward(ctx, dy, qkv.value(), k_rstd, dx, *kw, k);
          copy_columns(ctx, dy, dx, v_column, v_columns);
          qkv.add_grad(ctx, std::move(dx));
        },
        {&q_weight, &k_weight});
  return out;
}

}  // namespace sy::ops
