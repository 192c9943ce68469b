// Dropless: every assignment is computed (MegaBlocks, Gale et al. 2022, arXiv 2211.15841). Differs from the paper:
// nothing.
#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"

namespace sy::moe {
namespace {

class Dropless final : public Capacity {
 public:
  struct Config {};
  Dropless(const Config&, const Build&) {}
  void limit(Context&, const RouterInput&, const Scores&, Assignment&) const override {}
  bool is_unlimited() const override { return true; }
};

void describe(Dropless::Config&, Fields&) {}

SY_REGISTER(Capacity, Dropless, "dropless", "no limit: every assignment is computed")

}  // namespace
}  // namespace sy::moe
