#include "csrc/upcycling/granular.h"

namespace sy::upcycling {

std::vector<Ffn> granular_experts(const Ffn& block, int64_t num_experts, int64_t granularity) {
  const int64_t width = block.width() / granularity;
  std::vector<Ffn> experts;
  for (int64_t j = 0; j < num_experts; ++j) experts.push_back(slice(block, j % granularity * width, width));
  return experts;
}

double granular_scale(const LayerPlan& plan, int64_t granularity) {
  const auto sets = static_cast<double>(plan.num_experts_per_tok) / static_cast<double>(granularity);
  return 1 / (plan.weight_at_equal_logits * sets);
}

void require_granular(const LayerPlan& plan, const char* method, int64_t granularity, int64_t width) {
  if (width % granularity != 0)
    user_error("{}: {} neurons cannot be cut into {} equal shards", method, width, granularity);
  require_expert_width(plan, method, width / granularity, "the neurons to be routed over the shards of a copy");
  if (plan.num_experts % granularity != 0)
    user_error("moe.num_experts: {} makes complete copies of {} shards, and {} is not a multiple of that", method,
               granularity, plan.num_experts);
  if (plan.num_experts_per_tok % granularity != 0)
    user_error("moe.num_experts_per_tok: {} selects complete copies of {} shards, and {} is not a multiple of that",
               method, granularity, plan.num_experts_per_tok);
}

}  // namespace sy::upcycling
