// Capacity in token order: GShard (Lepikhin et al. 2020, arXiv 2006.16668), Switch (arXiv 2101.03961).
//
// Within a routing group all first choices claim places in token order, then all second choices, and so on.
// Differs from the papers: nothing.
#include "csrc/core/registry.h"
#include "csrc/moe/capacity_limit.h"

namespace sy::moe {
namespace {

class CapacityByPosition final : public CapacityPolicy {
 public:
  struct Config : CapacityOptions {};
  CapacityByPosition(const Config& c, const Build& b) : CapacityPolicy(c, b, kernels::CapacityOrder::kPosition) {}
};

void describe(CapacityByPosition::Config& c, Fields& f) { describe(static_cast<CapacityOptions&>(c), f); }

SY_REGISTER(Capacity, CapacityByPosition, "position", "places go to tokens in order: first choices first")

}  // namespace
}  // namespace sy::moe
