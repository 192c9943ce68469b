// Router z-loss: ST-MoE (Zoph et al. 2022, arXiv 2202.08906) eq. 5.   L = coefficient * mean_t (log sum_e exp l[t,e])^2
//
// Keeps logits small so that rounding in bf16 stays harmless. Differs from the paper: nothing.
#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"

namespace sy::moe {
namespace {

class ZLoss final : public Balance {
 public:
  struct Config {
    double coefficient = 0.001;
  };

  ZLoss(const Config& c, const Build&) : config_(c) {}

  void add_loss(Context& ctx, const RouterTrace& trace, LossSink& sink) const override {
    if (!trace.scores.logits_TE.defined())
      user_error("moe.balance: z_loss needs a router with logits; this router has none");
    ops::z_loss(ctx, trace.scores.logits_TE, config_.coefficient, sink.slot("z_loss"));
  }

 private:
  Config config_;
};

void describe(ZLoss::Config& c, Fields& f) {
  f.field("coefficient", c.coefficient, "multiplies the mean squared log-sum-exp", {.min = 0});
}

SY_REGISTER(Balance, ZLoss, "z_loss", "mean squared log-sum-exp of the router logits (ST-MoE)")

}  // namespace
}  // namespace sy::moe
