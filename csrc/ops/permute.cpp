// Index tables of a routing, token rows to expert rows, expert rows back to tokens.
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/moe/combine.h"
#include "kernels/moe/gather_rows.h"
#include "kernels/moe/index_build.h"

namespace sy::ops {

RowIndex index_build(Context& ctx, const Tensor& token, const Tensor& expert, const Tensor& kept,
                     const Tensor& slot_of_expert, int64_t tokens, int64_t experts, int64_t slots,
                     int64_t row_alignment) {
  if (row_alignment == 0) row_alignment = ctx.row_alignment;
  RowIndex index;
  index.entries = token.count();
  index.tokens = tokens;
  index.slots = slots;
  index.rows = kernels::index_build_rows(index.entries, slots, row_alignment);
  const auto table = [&](int64_t count) { return ctx.empty({count}, DType::i32); };
  index.seg_start = table(slots);
  index.seg_count = table(slots);
  index.row_end = table(1);
  index.row_entry = table(index.rows);
  index.row_token = table(index.rows);
  index.entry_row = table(index.entries);
  index.token_start = table(tokens + 1);
  index.token_entry = table(index.entries);
  SY_LAUNCH(ctx, index_build,
            (kernels::IndexBuild{.token = token.data<int32_t>(),
                                 .expert = expert.data<int32_t>(),
                                 .kept = kept.defined() ? kept.data<uint8_t>() : nullptr,
                                 .slot_of_expert = slot_of_expert.defined() ? slot_of_expert.data<int32_t>() : nullptr,
                                 .seg_start = index.seg_start.data<int32_t>(),
                                 .seg_count = index.seg_count.data<int32_t>(),
                                 .row_end = index.row_end.data<int32_t>(),
                                 .row_entry = index.row_entry.data<int32_t>(),
                                 .row_token = index.row_token.data<int32_t>(),
                                 .entry_row = index.entry_row.data<int32_t>(),
                                 .token_start = index.token_start.data<int32_t>(),
                                 .token_entry = index.token_entry.data<int32_t>(),
                                 .entries = index.entries,
                                 .tokens = tokens,
                                 .experts = experts,
                                 .slots = slots,
                                 .rows = index.rows,
                                 .row_alignment = row_alignment}));
  return index;
}

Var gather_rows(Context& ctx, const Var& x, const RowIndex& index, const Var& weight) {
  SY_CHECK(x.dim(0) == index.tokens, "gather_rows: {} rows for {} tokens", x.dim(0), index.tokens);
  const int64_t dim = x.dim(1);
  Tensor y = ctx.empty({index.rows, dim}, x.dtype());
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, gather_rows_forward,
              (kernels::GatherRowsForward<T>{.x = x.value().data<T>(),
                                             .row_token = index.row_token.data<int32_t>(),
                                             .row_entry = index.row_entry.data<int32_t>(),
                                             .row_end = index.row_end.data<int32_t>(),
                                             .weight = weight.defined() ? weight.value().data<Acc<T>>() : nullptr,
                                             .y = y.data<T>(),
                                             .rows = index.rows,
                                             .dim = dim}));
  });
  const bool record = needs_record(ctx, {&x, &weight});
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record([&ctx, x, out, weight, index, dim]() {
      const Tensor dy = out.take_grad();
      if (!dy.defined()) return;
      Tensor dx = ctx.empty(x.shape(), x.dtype());
      Tensor dweight = weight.defined() ? ctx.empty(weight.shape(), weight.dtype()) : Tensor();
      dispatch_float(x.dtype(), [&]<class T>() {
        SY_LAUNCH(ctx, gather_rows_backward,
                  (kernels::GatherRowsBackward<T>{.dy = dy.data<T>(),
                                                  .x = x.value().data<T>(),
                                                  .entry_row = index.entry_row.data<int32_t>(),
                                                  .token_start = index.token_start.data<int32_t>(),
                                                  .token_entry = index.token_entry.data<int32_t>(),
                                                  .weight = weight.defined() ? weight.value().data<Acc<T>>() : nullptr,
                                                  .dx = dx.data<T>(),
                                                  .dweight = dweight.defined() ? dweight.data<Acc<T>>() : nullptr,
                                                  .tokens = index.tokens,
                                                  .entries = index.entries,
                                                  .dim = dim}));
      });
      x.add_grad(ctx, std::move(dx));
      if (dweight.defined()) weight.add_grad(ctx, std::move(dweight));
    });
  return out;
}

Var combine(Context& ctx, const Var& y, const Var& weight, const Var& identity, const RowIndex& index) {
  SY_CHECK(y.dim(0) == index.rows, "combine: {} rows, the index has {}", y.dim(0), index.rows);
  const int64_t dim = y.dim(1);
  Tensor result = ctx.empty({index.tokens, dim}, y.dtype());
  dispatch_float(y.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, combine_forward,
              (kernels::CombineForward<T>{.y = y.value().data<T>(),
                                          .weight = weight.defined() ? weight.value().data<Acc<T>>() : nullptr,
                                          .identity = identity.defined() ? identity.value().data<T>() : nullptr,
                                          .entry_row = index.entry_row.data<int32_t>(),
                                          .token_start = index.token_start.data<int32_t>(),
                                          .token_entry = index.token_entry.data<int32_t>(),
                                          .out = result.data<T>(),
                                          .tokens = index.tokens,
                                          .entries = index.entries,
                                          .dim = dim}));
  });
  const bool record = needs_record(ctx, {&y, &weight, &identity});
  Var out(std::move(result), record);
  if (record)
    ctx.tape->record([&ctx, y, weight, identity, out, index, dim]() {
      const Tensor dout = out.take_grad();
      if (!dout.defined()) return;
      Tensor dy = ctx.empty(y.shape(), y.dtype());
      Tensor dweight = weight.defined() ? ctx.empty(weight.shape(), weight.dtype()) : Tensor();
      Tensor didentity = identity.defined() ? ctx.empty(identity.shape(), identity.dtype()) : Tensor();
      dispatch_float(y.dtype(), [&]<class T>() {
        SY_LAUNCH(ctx, combine_backward,
                  (kernels::CombineBackward<T>{.dout = dout.data<T>(),
                                               .y = y.value().data<T>(),
                                               .identity = identity.defined() ? identity.value().data<T>() : nullptr,
                                               .weight = weight.defined() ? weight.value().data<Acc<T>>() : nullptr,
                                               .entry_row = index.entry_row.data<int32_t>(),
                                               .token_start = index.token_start.data<int32_t>(),
                                               .token_entry = index.token_entry.data<int32_t>(),
                                               .row_token = index.row_token.data<int32_t>(),
                                               .row_entry = index.row_entry.data<int32_t>(),
                                               .row_end = index.row_end.data<int32_t>(),
                                               .dy = dy.data<T>(),
                                               .dweight = dweight.defined() ? dweight.data<Acc<T>>() : nullptr,
                                               .didentity = didentity.defined() ? didentity.data<T>() : nullptr,
                                               .tokens = index.tokens,
                                               .entries = index.entries,
                                               .rows = index.rows,
                                               .dim = dim}));
      });
      y.add_grad(ctx, std::move(dy));
      if (dweight.defined()) weight.add_grad(ctx, std::move(dweight));
      if (didentity.defined()) identity.add_grad(ctx, std::move(didentity));
    });
  return out;
}

}  // namespace sy::ops
