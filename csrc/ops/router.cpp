// Router scores and combine weights (kernels/moe/router_scores.h, kernels/moe/gate_weight.h).
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/moe/index_build.h"

namespace sy::ops {

Var router_scores(Context& ctx, const Var& logits, kernels::ScoreLink link) {
  const int64_t tokens = logits.dim(0), experts = logits.dim(1);
  Tensor score = ctx.empty(logits.shape(), logits.dtype());
  dispatch_accumulation(logits.dtype(), [&]<class A>() {
    SY_LAUNCH(ctx, router_scores_forward,
              (kernels::RouterScoresForward<A>{.logits = logits.value().data<A>(),
                                               .score = score.data<A>(),
                                               .lse = nullptr,
                                               .tokens = tokens,
                                               .experts = experts,
                                               .link = link}));
  });
  const bool record = needs_record(ctx, {&logits});
  Var out(std::move(score), record);
  if (record)
    ctx.tape->record([&ctx, logits, out, tokens, experts, link]() {
      const Tensor dscore = out.take_grad();
      if (!dscore.defined()) return;
      Tensor dlogits = ctx.empty(logits.shape(), logits.dtype());
      dispatch_accumulation(logits.dtype(), [&]<class A>() {
        SY_LAUNCH(ctx, router_scores_backward,
                  (kernels::RouterScoresBackward<A>{.logits = logits.value().data<A>(),
                                                    .score = out.value().data<A>(),
                                                    .dscore = dscore.data<A>(),
                                                    .dlogits = dlogits.data<A>(),
                                                    .tokens = tokens,
                                                    .experts = experts,
                                                    .link = link}));
      });
      logits.add_grad(ctx, std::move(dlogits));
    });
  return out;
}

namespace {

// The by-token lists of an assignment list, without rows: what the weights' backward walks.
struct TokenList {
  Tensor start, entry;
};

TokenList token_list(Context& ctx, const Tensor& token, const Tensor& expert, int64_t tokens, int64_t experts) {
  const RowIndex index = index_build(ctx, token, expert, {}, {}, tokens, experts, experts);
  return {index.token_start, index.token_entry};
}

}  // namespace

Var gate_weight(Context& ctx, const Var& score, const Tensor& token, const Tensor& expert, const Tensor& active,
                const GateWeightOptions& o) {
  const int64_t tokens = score.dim(0), experts = score.dim(1), entries = token.count();
  SY_CHECK(expert.count() == entries && entries % o.per_token == 0, "gate_weight: {} entries, {} experts, {} per token",
           entries, expert.count(), o.per_token);
  const auto flags = [](const Tensor& t) { return t.defined() ? t.data<uint8_t>() : nullptr; };
  Tensor weight = ctx.empty({entries}, score.dtype());
  dispatch_accumulation(score.dtype(), [&]<class A>() {
    SY_LAUNCH(ctx, gate_weight_forward,
              (kernels::GateWeightForward<A>{.score = score.value().data<A>(),
                                             .token = token.data<int32_t>(),
                                             .expert = expert.data<int32_t>(),
                                             .active = flags(active),
                                             .weight = weight.data<A>(),
                                             .entries = entries,
                                             .per_token = o.per_token,
                                             .experts = experts,
                                             .mode = o.mode,
                                             .scale = o.scale}));
  });
  const bool record = needs_record(ctx, {&score});
  Var out(std::move(weight), record);
  if (record)
    ctx.tape->record([&ctx, score, out, token, expert, active, o, tokens, experts, entries, flags]() {
      const Tensor dweight = out.take_grad();
      if (!dweight.defined()) return;
      const TokenList list = token_list(ctx, token, expert, tokens, experts);
      Tensor dscore = ctx.empty(score.shape(), score.dtype());
      dispatch_accumulation(score.dtype(), [&]<class A>() {
        SY_LAUNCH(ctx, gate_weight_backward,
                  (kernels::GateWeightBackward<A>{.score = score.value().data<A>(),
                                                  .weight = out.value().data<A>(),
                                                  .dweight = dweight.data<A>(),
                                                  .token = token.data<int32_t>(),
                                                  .expert = expert.data<int32_t>(),
                                                  .active = flags(active),
                                                  .token_start = list.start.data<int32_t>(),
                                                  .token_entry = list.entry.data<int32_t>(),
                                                  .dscore = dscore.data<A>(),
                                                  .tokens = tokens,
                                                  .entries = entries,
                                                  .per_token = o.per_token,
                                                  .experts = experts,
                                                  .mode = o.mode,
                                                  .scale = o.scale}));
      });
      score.add_grad(ctx, std::move(dscore));
    });
  return out;
}

}  // namespace sy::ops
