// Auxiliary-loss-free balancing by a selection bias: Wang et al. 2024 (arXiv 2408.15664), used in DeepSeek-V3.
//
//   selection reads s + b, the weight reads s;  after each optimizer step  b_e += u * sign(mean(c) - c_e)
// with c the assignments before capacity, summed over all ranks and micro-batches of the step. b is state, not a
// parameter: kept in the accumulation type, saved with checkpoints, never decayed, untouched when a step is skipped.
//
// Differs from the paper: `center` (off) subtracts the mean increment so that the sum of b stays 0.
#include "csrc/core/launch.h"
#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"
#include "kernels/moe/counts.h"

namespace sy::moe {
namespace {

class SelectionBias final : public Hook {
 public:
  struct Config {
    double update_rate = 0.001;
    bool center = false;
  };

  SelectionBias(const Config& c, const Build& b) : config_(c), name_(b.prefix + ".gate.e_score_correction_bias") {
    Context& ctx = b.parameters->context();
    bias_ = ctx.zeros({b.num_experts}, accumulation_dtype(b.parameters->dtype()), MemoryKind::parameters);
  }

  void perturb(Context&, const RouterInput&, Scores& scores) const override { scores.select_bias_E = bias_; }
  bool sets_selection_bias() const override { return true; }
  void after_step(Context& ctx, const Tensor& demand_E) override {
    dispatch_accumulation(bias_.dtype(), [&]<class A>() {
      SY_LAUNCH(ctx, bias_update,
                (kernels::BiasUpdate<A>{.count = demand_E.data<int64_t>(),
                                        .bias = bias_.data<A>(),
                                        .state = ctx.step_state(),
                                        .experts = bias_.count(),
                                        .rate = config_.update_rate,
                                        .center = config_.center}));
    });
  }
  std::vector<StateTensor> state() override { return {{name_, bias_}}; }

 private:
  Config config_;
  std::string name_;
  Tensor bias_;
};

void describe(SelectionBias::Config& c, Fields& f) {
  f.field("update_rate", c.update_rate, "step of the bias per optimizer step", {.min = 0});
  f.field("center", c.center, "subtract the mean increment, so that the biases keep summing to 0");
}

SY_REGISTER(Hook, SelectionBias, "selection_bias",
            "per-expert selection bias nudged towards even load (auxiliary-loss-free)")

}  // namespace
}  // namespace sy::moe
