// Granular upcycling with virtual groups (He et al. 2024, arXiv 2410.07524): copies of the block cut into G shards.
//
//   expert j = shard j mod G;   R = one row per group v = j div G, repeated G times, ~ N(0, router_std^2)
//   s = 1 / (w K / G),  w the weight of a selected expert at equal logits: E G^2 / K for softmax before the top-k with
//   E = N / G copies, G for normalised weights. SwiGLU output is multiplied by s through its matrices:
//     cube_all      all three by s^(1/3): the paper's and Megatron's, only approximate for SwiGLU
//     sqrt_up_down  W_up and W_down by s^(1/2): exact        down_only  W_down by s: exact
// N experts, K per token, G shards. Differs from the paper: nothing; scale_rule: none leaves the weights as they are.
#include <cmath>

#include "csrc/upcycling/granular.h"

namespace sy::upcycling {
namespace {

class VirtualGroups final : public Upcycling {
 public:
  enum class ScaleRule { kCubeAll, kSqrtUpDown, kDownOnly, kNone };
  struct Config {
    int64_t granularity = 8;
    ScaleRule scale_rule = ScaleRule::kCubeAll;
    double router_std = 0.02;
  };

  VirtualGroups(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "virtual_groups", 1);
    require_no_shared(plan, "virtual_groups");
    require_granular(plan, "virtual_groups", config.granularity, plan.dense_width);
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples&) const override {
    MoeWeights made;
    made.experts = granular_experts(inputs[0], plan_.num_experts, config_.granularity);
    const double s = granular_scale(plan_, config_.granularity);
    for (Ffn& expert : made.experts) scale_output(expert, s);
    made.router_ED = repeated_rows(plan_.num_experts / config_.granularity, config_.granularity, plan_.hidden_size,
                                   config_.router_std, plan_.stream("router"));
    return made;
  }

 private:
  void scale_output(Ffn& expert, double s) const {
    switch (config_.scale_rule) {
      case ScaleRule::kCubeAll:
        for (const Matrix m : kMatrices) scale(expert, m, std::cbrt(s));
        return;
      case ScaleRule::kSqrtUpDown:
        scale(expert, kUp, std::sqrt(s));
        scale(expert, kDown, std::sqrt(s));
        return;
      case ScaleRule::kDownOnly:
        scale(expert, kDown, s);
        return;
      case ScaleRule::kNone:
        return;
    }
  }

  Config config_;
  LayerPlan plan_;
};

void describe(VirtualGroups::Config& c, Fields& f) {
  using Rule = VirtualGroups::ScaleRule;
  f.field("granularity", c.granularity, "shards that a copy of the dense block is cut into", {.min = 1});
  f.field("scale_rule", c.scale_rule,
          {{"cube_all", Rule::kCubeAll},
           {"sqrt_up_down", Rule::kSqrtUpDown},
           {"down_only", Rule::kDownOnly},
           {"none", Rule::kNone}},
          "which matrices make up for small router weights; all but cube_all and none are exact");
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, VirtualGroups, "virtual_groups", "copies cut into shards, selected as complete sets")

}  // namespace
}  // namespace sy::upcycling
