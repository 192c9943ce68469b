// Shapes: another shape of the same elements, some of the rows, matrices below or beside each other.
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/dense/elementwise.h"

namespace sy::ops {

namespace {

// Columns [from_column, from_column + columns) of `from` to columns [to_column, ...) of `to`.
void copy_columns(Context& ctx, const Tensor& from, int64_t from_column, const Tensor& to, int64_t to_column,
                  int64_t columns) {
  dispatch_float(from.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, copy_columns,
              (kernels::CopyColumns<T>{.x = from.data<T>() + from_column,
                                       .y = to.data<T>() + to_column,
                                       .rows = from.dim(0),
                                       .columns = columns,
                                       .ldx = from.dim(1),
                                       .ldy = to.dim(1)}));
  });
}

}  // namespace

Var reshape(Context& ctx, const Var& x, Shape shape) {
  const bool record = needs_record(ctx, {&x});
  Var out(x.value().reshape(std::move(shape)), record);
  if (record)
    ctx.tape->record([&ctx, x, out]() {
      const Tensor dy = out.take_grad();
      if (dy.defined()) x.add_grad(ctx, dy.reshape(x.shape()));
    });
  return out;
}

Var slice_rows(Context& ctx, const Var& x, int64_t begin, int64_t end) {
  const bool record = needs_record(ctx, {&x});
  Var out(x.value().slice(begin, end), record);
  if (record)
    ctx.tape->record([&ctx, x, out, begin, end]() {
      const Tensor dy = out.take_grad();
      if (!dy.defined()) return;
      Tensor dx = ctx.zeros(x.shape(), x.dtype());
      if (dy.count() > 0) ctx.copy(dx.slice(begin, end), dy);
      x.add_grad(ctx, std::move(dx));
    });
  return out;
}

Var concat_rows(Context& ctx, const std::vector<Var>& pieces) {
  Shape shape = pieces.front().shape();
  shape[0] = 0;
  bool record = false;
  for (const Var& piece : pieces) {
    shape[0] += piece.dim(0);
    record = record || needs_record(ctx, {&piece});
  }
  Tensor y = ctx.empty(shape, pieces.front().dtype());
  int64_t row = 0;
  for (const Var& piece : pieces) {
    if (piece.value().count() > 0) ctx.copy(y.slice(row, row + piece.dim(0)), piece.value());
    row += piece.dim(0);
  }
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record([&ctx, pieces, out]() {
      const Tensor dy = out.take_grad();
      if (!dy.defined()) return;
      int64_t begin = 0;
      for (const Var& piece : pieces) {
        // A copy of its own: pieces may be added to later.
        Tensor d = ctx.empty(piece.shape(), piece.dtype());
        if (d.count() > 0) ctx.copy(d, dy.slice(begin, begin + piece.dim(0)));
        begin += piece.dim(0);
        piece.add_grad(ctx, std::move(d));
      }
    });
  return out;
}

Var concat_columns(Context& ctx, const Var& a, const Var& b) {
  SY_CHECK(a.dim(0) == b.dim(0) && a.dtype() == b.dtype(), "concat_columns of {} and {}", shape_string(a.shape()),
           shape_string(b.shape()));
  const int64_t left = a.dim(1), right = b.dim(1);
  Tensor y = ctx.empty({a.dim(0), left + right}, a.dtype());
  copy_columns(ctx, a.value(), 0, y, 0, left);
  copy_columns(ctx, b.value(), 0, y, left, right);
  const bool record = needs_record(ctx, {&a, &b});
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record([&ctx, a, b, out, left, right]() {
      const Tensor dy = out.take_grad();
      if (!dy.defined()) return;
      Tensor da = ctx.empty(a.shape(), a.dtype()), db = ctx.empty(b.shape(), b.dtype());
      copy_columns(ctx, dy, 0, da, 0, left);
      copy_columns(ctx, dy, left, db, 0, right);
      a.add_grad(ctx, std::move(da));
      b.add_grad(ctx, std::move(db));
    });
  return out;
}

}  // namespace sy::ops
