// Qwen-style fine-grained upcycling (Qwen1.5-MoE 2024; Qwen2 report, Yang et al. 2024, arXiv 2407.10671): experts of
// any width from shuffled copies of the block, half of each drawn anew.
//
//   copies 1, 2, ... of FFN, each with its own permutation of the F neurons, stand in a row and are cut into slices of
//   the expert width; expert e is slice e, the shared expert has the next neurons.
//   reinit_ratio of each routed expert's neurons ~ N(0, reinit_std^2);   R ~ N(0, router_std^2)
// Each dense neuron occurs floor or ceil of (neurons taken / F) times. Differs from the report: it says that half of
// the parameters are drawn, not in which units nor from what; here whole neurons from N(0, 0.02^2).
#include <cmath>

#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

class QwenUpcycling final : public Upcycling {
 public:
  struct Config {
    double reinit_ratio = 0.5;
    double reinit_std = 0.02;
    double router_std = 0.02;
  };

  QwenUpcycling(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "qwen", 1);
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples&) const override {
    const int64_t width = plan_.expert_width, routed = plan_.num_experts * width;
    const std::vector<int64_t> row = shuffled_copies(routed + plan_.shared_width);
    const auto part = [&](int64_t begin, int64_t count) {
      return neurons(inputs[0], std::span(row).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
    };
    MoeWeights made;
    const auto drawn = static_cast<int64_t>(std::floor(config_.reinit_ratio * static_cast<double>(width)));
    for (int64_t e = 0; e < plan_.num_experts; ++e) {
      Ffn& expert = made.experts.emplace_back(part(e * width, width));
      const std::vector<int64_t> chosen = plan_.stream("redrawn neurons", e).choose(drawn, width);
      for (const Matrix m : kMatrices)
        reinitialise(expert, m, chosen, {0, config_.reinit_std}, plan_.stream("redraw", e));
    }
    if (plan_.shared_width > 0) made.shared = part(routed, plan_.shared_width);
    made.router_ED = normal_rows(plan_.num_experts, plan_.hidden_size, config_.router_std, plan_.stream("router"));
    return made;
  }

 private:
  std::vector<int64_t> shuffled_copies(int64_t count) const {
    std::vector<int64_t> row;
    for (int64_t copy = 0; std::ssize(row) < count; ++copy) {
      const std::vector<int64_t> order = plan_.stream("shuffle", copy).permutation(plan_.dense_width);
      row.insert(row.end(), order.begin(), order.end());
    }
    return row;
  }

  Config config_;
  LayerPlan plan_;
};

void describe(QwenUpcycling::Config& c, Fields& f) {
  f.field("reinit_ratio", c.reinit_ratio, "share of each routed expert's neurons that are drawn anew",
          {.min = 0, .max = 1});
  f.field("reinit_std", c.reinit_std, "standard deviation they are drawn with", {.min = 0});
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, QwenUpcycling, "qwen", "experts of any width from shuffled copies, half of each drawn anew")

}  // namespace
}  // namespace sy::upcycling
