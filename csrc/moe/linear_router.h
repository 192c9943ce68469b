// The linear scorer that most routers share: logits = x W^T in the accumulation type, whatever the training type is.
// x is this rank's shard of the micro-batch's tokens; the logits [T, E] are those of all of them, equal on all
// tensor-parallel ranks, so that selection, capacity and balance need not know how tokens are divided.
// W [E, D] is kept in the accumulation type too; its Hugging Face name is "<mlp prefix>.gate.weight".
#pragma once

#include "csrc/moe/routing.h"

namespace sy::moe {

class LinearScorer {
 public:
  explicit LinearScorer(const LayerBuild& build, InitSpec init);
  explicit LinearScorer(const LayerBuild& build) : LinearScorer(build, {InitKind::kNormal, build.initializer_range}) {}
  Var logits(Context& ctx, const Var& x_TD) const;

 private:
  Parameter* weight_;
};

}  // namespace sy::moe
