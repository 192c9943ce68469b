// Scores [T,E] from logits, the k best experts of each token, index tables of the assignment list.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "benchmarks/kernels/problem.h"
#include "kernels/moe/index_build.h"
#include "kernels/moe/router_scores.h"
#include "kernels/moe/select.h"

namespace sy::bench {

namespace {

Problem scores(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(accumulation_dtype(dtype), [&]<class A>() {
    if constexpr (std::is_same_v<A, bf16>) {
      return Problem{};
    } else {
      const Pattern logit(1, 1.0);
      const int64_t experts = shape.experts;
      const Tensor in = logit.tensor(ctx, {routing.tokens, experts}, dtype_of<A>());
      const Tensor out = ctx.empty(in.shape(), in.dtype()), lse = ctx.empty({routing.tokens}, in.dtype());
      const kernels::RouterScoresForward<A> args{.logits = in.data<A>(),
                                                 .score = out.data<A>(),
                                                 .lse = lse.data<A>(),
                                                 .tokens = routing.tokens,
                                                 .experts = experts};
      const auto softmax = [=](int64_t i) {
        double sum = 0;
        for (int64_t e = 0; e < experts; ++e) sum += std::exp(logit(i / experts * experts + e));
        return std::exp(logit(i)) / sum;
      };
      return Problem{args.work(),
                     {{kOurs, [&ctx, args, in, out, lse] { SY_LAUNCH(ctx, router_scores_forward, args); }}},
                     {{out, softmax, tolerance_of(in.dtype())}}};
    }
  });
}

Problem topk(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(accumulation_dtype(dtype), [&]<class A>() {
    if constexpr (std::is_same_v<A, bf16>) {
      return Problem{};
    } else {
      const Pattern score(1, 1.0);
      const int64_t experts = shape.experts, k = shape.k;
      const Tensor in = score.tensor(ctx, {routing.tokens, experts}, dtype_of<A>());
      const Tensor token = ctx.empty({routing.assignments()}, DType::i32),
                   expert = ctx.empty(token.shape(), DType::i32);
      const kernels::TopkSelect<A> args{.score = in.data<A>(),
                                        .token = token.data<int32_t>(),
                                        .expert = expert.data<int32_t>(),
                                        .tokens = routing.tokens,
                                        .experts = experts,
                                        .k = k};
      const auto best = [=](int64_t i) {
        std::vector<int64_t> order(static_cast<std::size_t>(experts));
        std::iota(order.begin(), order.end(), 0);
        const int64_t row = i / k * experts;
        std::stable_sort(order.begin(), order.end(),
                         [&](int64_t a, int64_t b) { return score(row + a) > score(row + b); });
        return static_cast<double>(order[static_cast<std::size_t>(i % k)]);
      };
      return Problem{args.work(),
                     {{kOurs, [&ctx, args, in, token, expert] { SY_LAUNCH(ctx, topk_select, args); }}},
                     {{expert, best, 0}, {token, [=](int64_t i) { return static_cast<double>(i / k); }, 0}}};
    }
  });
}

Problem tables(Context& ctx, const MoeShape& shape, const Routing& routing, DType) {
  const auto table = [&](int64_t count) { return ctx.empty({count}, DType::i32); };
  const int64_t entries = routing.assignments();
  const Tensor seg_start = table(shape.experts), seg_count = table(shape.experts), row_end = table(1),
               row_entry = table(routing.rows), row_token = table(routing.rows), entry_row = table(entries),
               token_start = table(routing.tokens + 1), token_entry = table(entries);
  const kernels::IndexBuild args{.token = routing.device.token_N.data<int32_t>(),
                                 .expert = routing.device.expert_N.data<int32_t>(),
                                 .seg_start = seg_start.data<int32_t>(),
                                 .seg_count = seg_count.data<int32_t>(),
                                 .row_end = row_end.data<int32_t>(),
                                 .row_entry = row_entry.data<int32_t>(),
                                 .row_token = row_token.data<int32_t>(),
                                 .entry_row = entry_row.data<int32_t>(),
                                 .token_start = token_start.data<int32_t>(),
                                 .token_entry = token_entry.data<int32_t>(),
                                 .entries = entries,
                                 .tokens = routing.tokens,
                                 .experts = shape.experts,
                                 .slots = shape.experts,
                                 .rows = routing.rows,
                                 .row_alignment = routing.row_alignment};
  kernels::IndexBuild ideal = args;
  ideal.rows = entries;
  // A row is its segment's start and the number of earlier entries of the expert: no sort.
  const auto row = [expert_N = routing.expert_N, alignment = routing.row_alignment](int64_t n) {
    const int32_t mine = expert_N[static_cast<std::size_t>(n)];
    std::vector<int64_t> count(static_cast<std::size_t>(mine) + 1, 0);
    for (const int32_t e : expert_N)
      if (e < mine) ++count[static_cast<std::size_t>(e)];
    int64_t start = 0;
    for (const int64_t c : count) start += (c + alignment - 1) / alignment * alignment;
    return static_cast<double>(start + std::count(expert_N.begin(), expert_N.begin() + n, mine));
  };
  const auto run = [&ctx, args,
                    keep = std::vector<Tensor>{seg_start, seg_count, row_end, row_entry, row_token, entry_row,
                                               token_start, token_entry, routing.device.token_N,
                                               routing.device.expert_N}] { SY_LAUNCH(ctx, index_build, args); };
  return {ideal.work(),
          {{kOurs, run}},
          {{entry_row, row, 0}, {token_entry, [](int64_t i) { return static_cast<double>(i); }, 0}}};
}

}  // namespace

std::vector<KernelCase> routing_cases() {
  return {{"router_scores", "softmax over experts", false, scores},
          {"topk_select", "the k best experts of each token", false, topk},
          {"index_build", "rows of every expert, entries of every token", true, tables}};
}

}  // namespace sy::bench
