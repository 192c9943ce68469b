// Drop-Upcycling (Nakamura et al. 2025, arXiv 2502.19261): copies of which a random share of neurons is drawn anew.
//
//   S_e: floor(ratio F_e) neurons of expert e;   W[S_e] ~ N(mean, std^2) of the weights W[S_e] that are replaced, for
//   each of W_gate, W_up, W_down;   R uniform, centred, of standard deviation router_std
// F_e the experts' width: narrower ones hold the first F_e neurons of a permutation of their own. Two experts have an
// expected cosine of (1 - ratio)^2. Differs from the paper: nothing; the released scripts draw another S_e for each
// matrix, which is share_index: false.
#include <cmath>

#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

class DropUpcycling final : public Upcycling {
 public:
  struct Config {
    double ratio = 0.5;
    bool share_index = true;
    double router_std = 0.02;
  };

  DropUpcycling(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "drop_upcycling", 1);
    require_no_shared(plan, "drop_upcycling");
    if (plan.expert_width > plan.dense_width)
      user_error("moe.moe_intermediate_size: drop_upcycling takes experts from the {} neurons of a dense block, not {}",
                 plan.dense_width, plan.expert_width);
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples&) const override {
    MoeWeights made;
    for (int64_t e = 0; e < plan_.num_experts; ++e) made.experts.push_back(expert(inputs[0], e));
    made.router_ED =
        centred_uniform_rows(plan_.num_experts, plan_.hidden_size, config_.router_std, plan_.stream("router"));
    return made;
  }

 private:
  Ffn expert(const Ffn& dense, int64_t e) const {
    const int64_t width = plan_.expert_width;
    Ffn made = dense;
    if (width < plan_.dense_width) {
      std::vector<int64_t> order = plan_.stream("shuffle", e).permutation(plan_.dense_width);
      order.resize(static_cast<size_t>(width));
      made = neurons(dense, order);
    }
    const auto drawn = static_cast<int64_t>(std::floor(config_.ratio * static_cast<double>(width)));
    for (const Matrix m : kMatrices) {
      const std::string of_matrix = config_.share_index ? "" : std::to_string(m);
      const std::vector<int64_t> chosen = plan_.stream("redrawn neurons" + of_matrix, e).choose(drawn, width);
      reinitialise(made, m, chosen, statistics(made, m, chosen), plan_.stream("redraw", e));
    }
    return made;
  }

  Config config_;
  LayerPlan plan_;
};

void describe(DropUpcycling::Config& c, Fields& f) {
  f.field("ratio", c.ratio, "share of each expert's neurons that are drawn anew", {.min = 0, .max = 1});
  f.field("share_index", c.share_index, "the three matrices of an expert lose the same neurons");
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, DropUpcycling, "drop_upcycling", "copies of which a share of neurons is drawn anew")

}  // namespace
}  // namespace sy::upcycling
