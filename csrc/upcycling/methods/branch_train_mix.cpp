// Branch-Train-MiX (Sukhbaatar et al. 2024, arXiv 2403.07816): the blocks of several dense models become the experts.
//
//   n inputs, E experts:  expert e = FFN of input e div (E / n);   every other tensor is the inputs' mean (the
//   command's rule for all methods);   R ~ N(0, router_std^2)
// Inputs are domain models and, optionally, the seed they were trained from. Differs from the paper: nothing; E > n is
// the variant of arXiv 2502.19261.
#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

class BranchTrainMix final : public Upcycling {
 public:
  struct Config {
    double router_std = 0.02;
  };

  BranchTrainMix(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_no_shared(plan, "branch_train_mix");
    require_expert_width(plan, "branch_train_mix", plan.dense_width, "a whole dense block");
    if (plan.num_experts % plan.num_inputs != 0)
      user_error(
          "moe.num_experts: branch_train_mix gives each of the {} inputs as many experts, and {} is not a multiple",
          plan.num_inputs, plan.num_experts);
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples&) const override {
    const int64_t experts_per_input = plan_.num_experts / plan_.num_inputs;
    MoeWeights made;
    for (int64_t e = 0; e < plan_.num_experts; ++e)
      made.experts.push_back(inputs[static_cast<size_t>(e / experts_per_input)]);
    made.router_ED = normal_rows(plan_.num_experts, plan_.hidden_size, config_.router_std, plan_.stream("router"));
    return made;
  }

 private:
  Config config_;
  LayerPlan plan_;
};

void describe(BranchTrainMix::Config& c, Fields& f) {
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, BranchTrainMix, "branch_train_mix", "the blocks of several dense models as experts")

}  // namespace
}  // namespace sy::upcycling
