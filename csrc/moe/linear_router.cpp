#include "csrc/moe/linear_router.h"

namespace sy::moe {

LinearScorer::LinearScorer(const LayerBuild& build, InitSpec init)
    : weight_(&build.parameters->add(build.prefix + ".gate.weight", {build.num_experts, build.hidden_size}, init,
                                     /*keep_exact=*/true)) {}

Var LinearScorer::logits(Context& ctx, const Var& x_TD) const {
  return ops::linear(ctx, ops::cast(ctx, x_TD, weight_->value.dtype()), *weight_);
}

}  // namespace sy::moe
