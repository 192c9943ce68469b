// Token rows to expert rows (gather) and the weighted sum of expert rows per token (combine).
#include "benchmarks/kernels/problem.h"
#include "kernels/moe/combine.h"
#include "kernels/moe/gather_rows.h"

namespace sy::bench {

namespace {

Problem gather(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const Pattern value(1, 1.0);
    const int64_t dim = shape.hidden;
    const Tensor x = value.tensor(ctx, {routing.tokens, dim}, dtype);
    const Tensor y = ctx.empty({routing.rows, dim}, dtype);
    const auto tables = routing.device;
    kernels::GatherRowsForward<T> args{.x = x.data<T>(),
                                       .row_token = tables.row_token.template data<int32_t>(),
                                       .row_entry = tables.row_entry.template data<int32_t>(),
                                       .row_end = tables.row_end.template data<int32_t>(),
                                       .y = y.data<T>(),
                                       .rows = routing.rows,
                                       .dim = dim};
    kernels::GatherRowsForward<T> ideal = args;
    ideal.rows = routing.assignments();
    // Rows in the order of entries: what lies behind the last segment is nobody's.
    const int64_t last_row = routing.seg_start.back() + routing.seg_count.back();
    const auto row = [=, row_token = routing.row_token](int64_t i) {
      const int32_t t = row_token[static_cast<std::size_t>(i / dim)];
      return t < 0 ? 0.0 : value(t * dim + i % dim);
    };
    return Problem{ideal.work(),
                   {{kOurs, [&ctx, args, x, y, tables] { SY_LAUNCH(ctx, gather_rows_forward, args); }}},
                   {{y.slice(0, last_row), row, 0}}};
  });
}

Problem combine(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const Pattern value(1, 1.0), weight(2, 0.1);
    const int64_t dim = shape.hidden, k = shape.k;
    const Tensor y = value.tensor(ctx, {routing.rows, dim}, dtype);
    const Tensor weight_N = weight.tensor(ctx, {routing.assignments()}, accumulation_dtype(dtype));
    const Tensor out = ctx.empty({routing.tokens, dim}, dtype);
    const auto tables = routing.device;
    const kernels::CombineForward<T> args{.y = y.data<T>(),
                                          .weight = weight_N.data<Acc<T>>(),
                                          .entry_row = tables.entry_row.template data<int32_t>(),
                                          .token_start = tables.token_start.template data<int32_t>(),
                                          .token_entry = tables.token_entry.template data<int32_t>(),
                                          .out = out.data<T>(),
                                          .tokens = routing.tokens,
                                          .entries = routing.assignments(),
                                          .dim = dim};
    const auto sum = [=, entry_row = routing.entry_row](int64_t i) {
      double total = 0;
      for (int64_t n = i / dim * k; n < (i / dim + 1) * k; ++n)
        total += weight(n) * value(entry_row[static_cast<std::size_t>(n)] * dim + i % dim);
      return total;
    };
    return Problem{args.work(),
                   {{kOurs, [&ctx, args, y, weight_N, out, tables] { SY_LAUNCH(ctx, combine_forward, args); }}},
                   {{out, sum, tolerance_of(dtype)}}};
  });
}

}  // namespace

std::vector<KernelCase> row_cases() {
  return {{"gather_rows", "token rows in the order of experts", true, gather},
          {"combine", "weighted sum of a token's expert rows", true, combine}};
}

}  // namespace sy::bench
