// Sparse Upcycling (Komatsuzaki et al. 2022, arXiv 2212.05055): every expert is a copy of the dense block.
//
//   E_e = FFN for all e;   R ~ N(0, router_std^2)
//   noise_std > 0: N(0, noise_std^2) is added to noise_ratio of each expert's neurons ("random noise upcycling")
// R router rows [E, D]. With normalised weights and no noise the MoE computes what the dense model does; with raw
// softmax probabilities its blocks are multiplied by the kept mass. Differs from the paper: which layers become MoE is
// said by the keys of `moe` (the paper: every other one); optimizer state is not carried over.
#include <cmath>

#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

class SparseUpcycling final : public Upcycling {
 public:
  struct Config {
    double router_std = 0.02;
    double noise_std = 0;
    double noise_ratio = 0.5;
  };

  SparseUpcycling(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "sparse_upcycling", 1);
    require_no_shared(plan, "sparse_upcycling");
    require_expert_width(plan, "sparse_upcycling", plan.dense_width, "a whole dense block");
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples&) const override {
    MoeWeights made;
    made.experts.assign(static_cast<size_t>(plan_.num_experts), inputs[0]);
    const auto noisy = static_cast<int64_t>(std::floor(config_.noise_ratio * static_cast<double>(plan_.dense_width)));
    for (int64_t e = 0; e < plan_.num_experts && config_.noise_std > 0; ++e) {
      const Stream chosen = plan_.stream("noisy neurons", e), noise = plan_.stream("noise", e);
      add_noise(made.experts[static_cast<size_t>(e)], chosen.choose(noisy, plan_.dense_width), config_.noise_std,
                noise);
    }
    made.router_ED = normal_rows(plan_.num_experts, plan_.hidden_size, config_.router_std, plan_.stream("router"));
    return made;
  }

 private:
  Config config_;
  LayerPlan plan_;
};

void describe(SparseUpcycling::Config& c, Fields& f) {
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
  f.field("noise_std", c.noise_std, "standard deviation of what is added to an expert's neurons; 0: exact copies",
          {.min = 0});
  f.field("noise_ratio", c.noise_ratio, "share of each expert's neurons that get noise",
          {.min = 0, .max = 1, .active = c.noise_std > 0, .active_when = "noise_std is not 0"});
}

SY_REGISTER(Upcycling, SparseUpcycling, "sparse_upcycling", "every expert a copy of the dense block (+ noise)")

}  // namespace
}  // namespace sy::upcycling
