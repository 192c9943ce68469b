// Capacity by score: an expert keeps its highest-scoring entries (the "probs" drop policy of large training code bases).
//
// Ranks first (all first choices, then second), descending score inside a rank. Looks at the whole routing group, so a
// causal model refuses it unless moe.allow_batch_dependent_routing is true. Differs from the source: ranks come first.
#include "csrc/core/registry.h"
#include "csrc/moe/capacity_limit.h"

namespace sy::moe {
namespace {

class CapacityByScore final : public CapacityPolicy {
 public:
  struct Config : CapacityOptions {};
  CapacityByScore(const Config& c, const Build& b) : CapacityPolicy(c, b, kernels::CapacityOrder::kScore) {}
};

void describe(CapacityByScore::Config& c, Fields& f) { describe(static_cast<CapacityOptions&>(c), f); }

SY_REGISTER(Capacity, CapacityByScore, "score", "places go to the highest-scoring (token, expert) pairs")

}  // namespace
}  // namespace sy::moe
