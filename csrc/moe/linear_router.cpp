#include "csrc/moe/linear_router.h"

#include "parallel/collective_ops.h"

namespace sy::moe {

LinearScorer::LinearScorer(const LayerBuild& build, InitSpec init)
    : weight_(&build.parameters->add(build.prefix + ".gate.weight", {build.num_experts, build.hidden_size}, init,
                                     Sharing::kTensorPartial, /*keep_exact=*/true)) {}

Var LinearScorer::logits(Context& ctx, const Var& x_TD) const {
  const Var of_shard = ops::linear(ctx, ops::cast(ctx, x_TD, weight_->value.dtype()), *weight_);
  return tp::whole_micro_batch(ctx, of_shard);
}

}  // namespace sy::moe
