// Batch-priority capacity: V-MoE (Riquelme et al. 2021, arXiv 2106.05974), section 4.1.
//
// Tokens claim places in descending order of their largest selected score. Looks at the whole routing group, so a causal
// model refuses it unless moe.allow_batch_dependent_routing is true. Differs from the paper: nothing.
#include "csrc/core/registry.h"
#include "csrc/moe/capacity_limit.h"

namespace sy::moe {
namespace {

class CapacityByTokenScore final : public CapacityPolicy {
 public:
  struct Config : CapacityOptions {};
  CapacityByTokenScore(const Config& c, const Build& b) : CapacityPolicy(c, b, kernels::CapacityOrder::kTokenScore) {}
};

void describe(CapacityByTokenScore::Config& c, Fields& f) { describe(static_cast<CapacityOptions&>(c), f); }

SY_REGISTER(Capacity, CapacityByTokenScore, "token_score", "places go to tokens in order of their largest score (batch priority)")

}  // namespace
}  // namespace sy::moe
