// Router entropy loss: dynamic routing, Huang et al. 2024 (arXiv 2403.07652).   L = coefficient * mean_t H(P_t),  H =
// -sum P log P
//
// Minimised, it sharpens each token's choice (fewer experts under top-p); a negative coefficient spreads it.
// Differs from the paper: nothing.
#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"

namespace sy::moe {
namespace {

class Entropy final : public Balance {
 public:
  struct Config {
    double coefficient = 1e-4;
  };

  Entropy(const Config& c, const Build&) : config_(c) {}

  void add_loss(Context& ctx, const RouterTrace& trace, LossSink& sink) const override {
    if (!trace.balance_probability_TE.defined())
      user_error("moe.balance: entropy needs a router with probabilities; this router has none");
    ops::entropy_loss(ctx, trace.balance_probability_TE, config_.coefficient, sink.slot("entropy_loss"));
  }

 private:
  Config config_;
};

void describe(Entropy::Config& c, Fields& f) {
  f.field("coefficient", c.coefficient, "multiplies the mean token entropy in nats");
}

SY_REGISTER(Balance, Entropy, "entropy", "mean entropy of the router probabilities (dynamic routing)")

}  // namespace
}  // namespace sy::moe
