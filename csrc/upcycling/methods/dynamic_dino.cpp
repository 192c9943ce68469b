// Exact fine-grained initialisation (Dynamic-DINO, Lu et al. 2025, arXiv 2507.17436): N copies, each cut into K pieces.
//
//   expert j = piece j mod K;   router rows repeat K times;   W_down of every piece times 1 / w
// so that the K selected pieces, always those of one copy, sum to the dense block for every token: w is their weight
// (1 / K where weights are normalised, and only then the start is exact whatever the router says; refused otherwise).
// K experts per token. Differs from the paper: its factor is not stated, ours is the one that makes the start exact;
// our blocks have no bias to divide.
#include <cmath>

#include "csrc/upcycling/granular.h"

namespace sy::upcycling {
namespace {

class DynamicDino final : public Upcycling {
 public:
  struct Config {
    double router_std = 0.02;
  };

  DynamicDino(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "dynamic_dino", 1);
    require_no_shared(plan, "dynamic_dino");
    require_granular(plan, "dynamic_dino", plan.num_experts_per_tok, plan.dense_width);
    const bool is_sole_copy = plan.num_experts == plan.num_experts_per_tok;
    const double normalised = 1 / static_cast<double>(plan.num_experts_per_tok);
    if (!is_sole_copy && std::fabs(plan.weight_at_equal_logits - normalised) > 1e-12)
      user_error(
          "moe.router: dynamic_dino starts exactly only from weights that sum to 1; those of this router are {:.6g} "
          "each instead of {:.6g}",
          plan.weight_at_equal_logits, normalised);
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples&) const override {
    const int64_t pieces = plan_.num_experts_per_tok;
    MoeWeights made;
    made.experts = granular_experts(inputs[0], plan_.num_experts, pieces);
    for (Ffn& expert : made.experts) scale(expert, kDown, granular_scale(plan_, pieces));
    made.router_ED = repeated_rows(plan_.num_experts / pieces, pieces, plan_.hidden_size, config_.router_std,
                                   plan_.stream("router"));
    return made;
  }

 private:
  Config config_;
  LayerPlan plan_;
};

void describe(DynamicDino::Config& c, Fields& f) {
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, DynamicDino, "dynamic_dino", "copies cut into K pieces that start exactly from the dense model")

}  // namespace
}  // namespace sy::upcycling
