// The selection kernels as calls on tensors, shared by router methods (kernels/moe/select.h has their rules).
#pragma once

#include "csrc/moe/routing.h"

namespace sy::moe {

struct TopkOptions {
  int64_t k = 1;
  int64_t groups = 1, groups_kept = 1;  // group-limited selection when groups > 1
};
Assignment topk_select(Context& ctx, const Tensor& score_TE, const Tensor& bias_E, const TopkOptions& options);
Assignment top_p_select(Context& ctx, const Tensor& probability_TE, double p, int64_t max_per_token);
Assignment expert_choice_select(Context& ctx, const Tensor& score_TE, int64_t capacity, int64_t group_tokens);

}  // namespace sy::moe
