#include "csrc/moe/select.h"

#include "csrc/core/launch.h"
#include "kernels/moe/select.h"

namespace sy::moe {

namespace {

Assignment empty_list(Context& ctx, int64_t entries, int64_t per_token) {
  Assignment a;
  a.token_N = ctx.empty({entries}, DType::i32);
  a.expert_N = ctx.empty({entries}, DType::i32);
  a.per_token = per_token;
  return a;
}

}  // namespace

Assignment topk_select(Context& ctx, const Tensor& score_TE, const Tensor& bias_E, const TopkOptions& o) {
  const int64_t tokens = score_TE.dim(0), experts = score_TE.dim(1);
  SY_CHECK(o.k >= 1 && o.k <= experts && o.groups >= 1 && experts % o.groups == 0, "top-{} of {} experts in {} groups",
           o.k, experts, o.groups);
  Assignment a = empty_list(ctx, tokens * o.k, o.k);
  dispatch_accumulation(score_TE.dtype(), [&]<class A>() {
    SY_LAUNCH(ctx, topk_select,
              (kernels::TopkSelect<A>{.score = score_TE.data<A>(),
                                      .bias = bias_E.defined() ? bias_E.data<A>() : nullptr,
                                      .token = a.token_N.data<int32_t>(),
                                      .expert = a.expert_N.data<int32_t>(),
                                      .tokens = tokens,
                                      .experts = experts,
                                      .k = o.k,
                                      .groups = o.groups,
                                      .groups_kept = o.groups_kept,
                                      .group_top = 2}));
  });
  return a;
}

Assignment top_p_select(Context& ctx, const Tensor& probability_TE, double p, int64_t max_per_token) {
  const int64_t tokens = probability_TE.dim(0), experts = probability_TE.dim(1);
  Assignment a = empty_list(ctx, tokens * max_per_token, max_per_token);
  dispatch_accumulation(probability_TE.dtype(), [&]<class A>() {
    SY_LAUNCH(ctx, top_p_select,
              (kernels::TopPSelect<A>{.probability = probability_TE.data<A>(),
                                      .token = a.token_N.data<int32_t>(),
                                      .expert = a.expert_N.data<int32_t>(),
                                      .tokens = tokens,
                                      .experts = experts,
                                      .max_per_token = max_per_token,
                                      .p = p}));
  });
  return a;
}

Assignment expert_choice_select(Context& ctx, const Tensor& score_TE, int64_t capacity, int64_t group_tokens) {
  const int64_t tokens = score_TE.dim(0), experts = score_TE.dim(1);
  SY_CHECK(group_tokens > 0 && tokens % group_tokens == 0, "{} tokens in groups of {}", tokens, group_tokens);
  Assignment a = empty_list(ctx, tokens / group_tokens * experts * capacity, 1);
  dispatch_accumulation(score_TE.dtype(), [&]<class A>() {
    SY_LAUNCH(ctx, expert_choice_select,
              (kernels::ExpertChoiceSelect<A>{.score = score_TE.data<A>(),
                                              .token = a.token_N.data<int32_t>(),
                                              .expert = a.expert_N.data<int32_t>(),
                                              .tokens = tokens,
                                              .experts = experts,
                                              .capacity = capacity,
                                              .group_tokens = group_tokens}));
  });
  return a;
}

}  // namespace sy::moe
