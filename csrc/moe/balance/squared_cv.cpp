// Importance loss: Shazeer et al. 2017 (arXiv 1701.06538) eq. 6-7.   L = coefficient * CV^2(importance),  importance_e
// = sum_t w[t,e]
//
// CV^2 = population variance / mean^2 over experts, of one micro-batch; micro-batches are averaged by their tokens.
// Differs from the paper: the population variance (the reference code's sample variance is E/(E-1) larger).
#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"

namespace sy::moe {
namespace {

class SquaredCv final : public Balance {
 public:
  struct Config {
    double coefficient = 0.1;
  };

  SquaredCv(const Config& c, const Build&) : config_(c) {}

  void add_loss(Context& ctx, const RouterTrace& trace, LossSink& sink) const override {
    if (!trace.weight_N.defined())
      user_error("moe.balance: squared_cv needs a router with weights; this router has none");
    ops::importance_loss(ctx, trace.weight_N, trace.assignment.expert_N, trace.input->tokens(), trace.experts,
                         config_.coefficient, sink.slot("squared_cv_loss"));
  }

 private:
  Config config_;
};

void describe(SquaredCv::Config& c, Fields& f) {
  f.field("coefficient", c.coefficient, "multiplies var/mean^2 of the experts' summed weights", {.min = 0});
}

SY_REGISTER(Balance, SquaredCv, "squared_cv", "squared coefficient of variation of the experts' importance")

}  // namespace
}  // namespace sy::moe
