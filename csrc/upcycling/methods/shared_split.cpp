// Shared and fine-grained experts from a dense block (the layout of DeepSeekMoE, Dai et al. 2024, arXiv 2401.06066).
//
//   a random F_s of the F neurons become the shared expert; the others, cut into G = (F - F_s) / F_e segments, the
//   routed ones: expert j = segment j mod G, router rows repeat G times, W_down of the routed part times 1 / (w K / G)
// F_s shared, F_e expert width, w the weight of a selected expert at equal logits. Shared expert and one complete set
// of segments are the dense block. Differs from the paper: DeepSeekMoE trains from scratch; this is its start from a
// dense model, with random shared neurons.
#include "csrc/upcycling/granular.h"

namespace sy::upcycling {
namespace {

class SharedSplit final : public Upcycling {
 public:
  struct Config {
    double router_std = 0.02;
  };

  SharedSplit(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "shared_split", 1);
    routed_ = plan.dense_width - plan.shared_width;
    if (plan.shared_width == 0 || routed_ <= 0 || routed_ % plan.expert_width != 0)
      user_error(
          "moe.shared_expert_intermediate_size: shared_split needs a part of the dense width {} that leaves a multiple "
          "of moe.moe_intermediate_size {}, not {}",
          plan.dense_width, plan.expert_width, plan.shared_width);
    segments_ = routed_ / plan.expert_width;
    require_granular(plan, "shared_split", segments_, routed_);
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples&) const override {
    const Ffn shuffled = neurons(inputs[0], plan_.stream("shared neurons").permutation(plan_.dense_width));
    MoeWeights made;
    made.shared = slice(shuffled, 0, plan_.shared_width);
    made.experts = granular_experts(slice(shuffled, plan_.shared_width, routed_), plan_.num_experts, segments_);
    for (Ffn& expert : made.experts) scale(expert, kDown, granular_scale(plan_, segments_));
    made.router_ED = repeated_rows(plan_.num_experts / segments_, segments_, plan_.hidden_size, config_.router_std,
                                   plan_.stream("router"));
    return made;
  }

 private:
  Config config_;
  LayerPlan plan_;
  int64_t routed_ = 0, segments_ = 0;
};

void describe(SharedSplit::Config& c, Fields& f) {
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, SharedSplit, "shared_split", "some neurons always on, the others cut into routed segments")

}  // namespace
}  // namespace sy::upcycling
