#include "csrc/moe/capacity_limit.h"

#include <cmath>

#include "csrc/core/launch.h"

namespace sy::moe {

void describe(CapacityOptions& o, Fields& f) {
  f.field("factor", o.factor, "an expert takes at most factor * K * T / E entries of a micro-batch in training",
          {.min = 0});
  f.field("eval_factor", o.eval_factor, "the same in evaluation; generation has no limit", {.min = 0});
  f.field("overflow", o.overflow,
          {{"zero", Overflow::kZero}, {"identity", Overflow::kIdentity}, {"next_choice", Overflow::kNextChoice}},
          "what a dropped entry does: contribute nothing, contribute weight * x, or move to the best expert with room");
  f.field("renormalise_after_drop", o.renormalise_after_drop, "dropped entries leave the weights' normalisation");
}

void CapacityPolicy::limit(Context& ctx, const RouterInput& input, const Scores& scores, Assignment& assignment) const {
  const int64_t tokens = input.tokens(), entries = assignment.token_N.count();
  const double factor = ctx.training ? options_.factor : options_.eval_factor;
  const auto capacity = static_cast<int64_t>(
      std::ceil(factor * static_cast<double>(per_token_ * tokens) / static_cast<double>(experts_)));
  const bool next_choice = options_.overflow == Overflow::kNextChoice;
  const bool needs_score = next_choice || needs_batch();
  SY_CHECK(!needs_score || scores.score_TE.defined(), "this capacity policy needs a router with scores");
  const DType type = scores.score_TE.defined() ? scores.score_TE.dtype() : accumulation_dtype(input.x_TD.dtype());
  const Tensor rank = order_ == kernels::CapacityOrder::kRandom ? priority(ctx, input, type) : Tensor();

  assignment.kept_N = ctx.empty({entries}, DType::u8);
  if (next_choice) {  // the list is rewritten: keep the demand as it was for balance losses
    Tensor rewritten = ctx.empty({entries}, DType::i32);
    ctx.copy(rewritten, assignment.expert_N);
    assignment.expert_N = std::move(rewritten);
  }
  dispatch_accumulation(type, [&]<class A>() {
    SY_LAUNCH(
        ctx, capacity_limit,
        (kernels::CapacityLimit<A>{.token = assignment.token_N.data<int32_t>(),
                                   .expert = assignment.expert_N.data<int32_t>(),
                                   .score = scores.score_TE.defined() ? scores.score_TE.value().data<A>() : nullptr,
                                   .priority = rank.defined() ? rank.data<A>() : nullptr,
                                   .kept = assignment.kept_N.data<uint8_t>(),
                                   .entries = entries,
                                   .tokens = tokens,
                                   .experts = experts_,
                                   .per_token = assignment.per_token,
                                   .group_tokens = tokens,
                                   .capacity = capacity,
                                   .order = order_,
                                   .next_choice = next_choice}));
  });
}

}  // namespace sy::moe
