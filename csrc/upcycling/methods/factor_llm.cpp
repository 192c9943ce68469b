// FactorLLM (Zhao et al. 2024, arXiv 2408.11855): the dense block in equal chunks, and a router taught by the block
// itself which chunks come nearest to it.
//
//   expert e = neurons [e F/E, (e+1) F/E), or a random E-th of them;   output = E / K times the K selected ones
//   err_e(x) = mean over D of (E_e(x) - FFN(x) K / E)^2;   label = 1 on the K smallest;   t = softmax(label)
//   R on the samples: mean over tokens of  sum_e g_e ln(g_e / t_e),  g = softmax(R x)  (the prior-approximate loss)
// F neurons, E experts; W_down times E / (w K), w the weight of a selected expert at equal logits. K = E is the dense
// block. Differs from the paper: the dense block teaches the router alone and before training, which then goes on with
// the run's own losses, where the paper adds 0.05 of the loss above to them; the router has no bias; its logits are
// scaled down to `logit_deviation`, so that selected experts start with nearly equal weights, which are 1 in the paper.
#include "csrc/upcycling/partition.h"
#include "csrc/upcycling/router_fit.h"
#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

class FactorLlm final : public Upcycling {
 public:
  enum class Split { kContiguous, kRandom };
  struct Config {
    Split split = Split::kContiguous;
    double router_std = 0.02;
    RouterFit fit;
  };

  FactorLlm(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "factor_llm", 1);
    require_no_shared(plan, "factor_llm");
    require_equal_shares(plan, "factor_llm");
  }

  SampleNeed needs() const override { return SampleNeed::kInputs; }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples& samples) const override {
    const std::vector<float> x_TD = all_inputs(samples);
    MoeWeights made;
    if (config_.split == Split::kContiguous) {
      for (int64_t e = 0; e < plan_.num_experts; ++e)
        made.experts.push_back(slice(inputs[0], e * plan_.expert_width, plan_.expert_width));
    } else {
      for (const auto& index : random_partition(plan_.dense_width, plan_.num_experts, plan_.stream("split")))
        made.experts.push_back(neurons(inputs[0], index));
    }
    made.router_ED = fitted(inputs[0], made.experts, x_TD);
    const double per_token = static_cast<double>(plan_.num_experts) / static_cast<double>(plan_.num_experts_per_tok);
    for (Ffn& expert : made.experts) scale(expert, kDown, per_token / plan_.weight_at_equal_logits);
    return made;
  }

 private:
  std::vector<double> fitted(const Ffn& dense, const std::vector<Ffn>& experts, const std::vector<float>& x_TD) const {
    const auto count = experts.size(), width = static_cast<size_t>(plan_.hidden_size);
    const double share = static_cast<double>(plan_.num_experts_per_tok) / static_cast<double>(plan_.num_experts);
    const std::vector<double> whole_TD = outputs(dense, x_TD);
    std::vector<double> error_TE(x_TD.size() / width * count, 0.0);
    for (size_t e = 0; e < count; ++e) {
      const std::vector<double> part_TD = outputs(experts[e], x_TD);
      for (size_t i = 0; i < part_TD.size(); ++i) {
        const double difference = part_TD[i] - share * whole_TD[i];
        error_TE[i / width * count + e] += difference * difference / static_cast<double>(width);
      }
    }
    std::vector<double> target_TE;
    for (size_t t = 0; t < error_TE.size(); t += count) {
      const std::vector<double> target =
          softmax(smallest(std::span(error_TE).subspan(t, count), plan_.num_experts_per_tok));
      target_TE.insert(target_TE.end(), target.begin(), target.end());
    }
    return fit_router(normal_rows(plan_.num_experts, plan_.hidden_size, config_.router_std, plan_.stream("router")),
                      x_TD, target_TE, plan_.hidden_size, config_.fit, divergence_from, plan_.stream("router order"));
  }

  Config config_;
  LayerPlan plan_;
};

void describe(FactorLlm::Config& c, Fields& f) {
  using Split = FactorLlm::Split;
  f.field("split", c.split, {{"contiguous", Split::kContiguous}, {"random", Split::kRandom}},
          "how neurons are divided: in their order, or at random");
  f.field("router_std", c.router_std, "standard deviation of the router's weights before the fit", {.min = 0});
  describe(c.fit, f);
}

SY_REGISTER(Upcycling, FactorLlm, "factor_llm", "chunks of the block, and a router taught by it which come nearest")

}  // namespace
}  // namespace sy::upcycling
