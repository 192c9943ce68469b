// Softmax top-k routing: Mixtral (Jiang et al. 2024, arXiv 2401.04088), OLMoE (Muennighoff et al. 2024, arXiv
// 2409.02060), Qwen3-MoE (2025, arXiv 2505.09388).
//
//   l = x W^T (fp32);  P = softmax(l);  S_t = top-k(P);  y_t = sum over S_t of w[t,e] FFN_e(x_t)
//   softmax: before  (after_topk = false):  w = scale P            (OLMoE), or scale P / sum over S of P with
//   norm_topk_prob (Qwen3) softmax: after   (after_topk = true):   w = scale softmax of the k selected logits (Mixtral;
//   equals before + norm_topk_prob)
// T tokens, D width, E experts, K experts per token.
//
// Differs from the papers: nothing. Renormalising a single expert's weight gives the router no gradient and is refused.
#include "csrc/core/registry.h"
#include "csrc/moe/linear_router.h"
#include "csrc/moe/select.h"

namespace sy::moe {
namespace {

class SoftmaxTopk final : public Router {
 public:
  enum class Softmax { kBefore, kAfter };
  struct Config {
    Softmax softmax = Softmax::kBefore;
    bool norm_topk_prob = true;
    double routed_scaling_factor = 1.0;
  };

  SoftmaxTopk(const Config& c, const Build& b) : config_(c), k_(b.num_experts_per_tok), scorer_(b) {
    if (k_ == 1 && (c.norm_topk_prob || c.softmax == Softmax::kAfter))
      user_error(
          "moe.router: softmax_topk with num_experts_per_tok: 1 and a normalised weight gives the router no gradient; "
          "set "
          "norm_topk_prob: false and softmax: before");
  }

  Scores score(Context& ctx, const RouterInput& input) const override {
    Scores s;
    s.logits_TE = scorer_.logits(ctx, input.x_TD);
    s.score_TE = ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kSoftmax);
    return s;
  }
  Assignment select(Context& ctx, const RouterInput&, const Scores& s) const override {
    return topk_select(ctx, s.score_TE.value(), s.select_bias_E, {.k = k_});
  }
  Var weigh(Context& ctx, const Scores& s, const Assignment& a, const Tensor& active) const override {
    using Mode = kernels::GateWeightMode;
    const bool after = config_.softmax == Softmax::kAfter;
    const Mode mode = after ? Mode::kSoftmax : config_.norm_topk_prob ? Mode::kRenormalised : Mode::kRaw;
    return ops::gate_weight(ctx, after ? s.logits_TE : s.score_TE, a.token_N, a.expert_N, active,
                            {.mode = mode, .per_token = a.per_token, .scale = config_.routed_scaling_factor});
  }
  bool reads_selection_bias() const override { return true; }
  double assignments_per_token() const override { return static_cast<double>(k_); }
  int64_t max_assignments(int64_t tokens, int64_t) const override { return tokens * k_; }
  std::optional<bool> hub_norm_topk_prob() const override {
    if (config_.routed_scaling_factor != 1) return {};
    return config_.softmax == Softmax::kAfter || config_.norm_topk_prob;
  }

 private:
  Config config_;
  int64_t k_;
  LinearScorer scorer_;
};

void describe(SoftmaxTopk::Config& c, Fields& f) {
  f.field("softmax", c.softmax, {{"before", SoftmaxTopk::Softmax::kBefore}, {"after", SoftmaxTopk::Softmax::kAfter}},
          "softmax over all experts before the top-k, or over the selected logits after it");
  f.field("norm_topk_prob", c.norm_topk_prob, "divide the selected probabilities by their sum",
          {.active = c.softmax == SoftmaxTopk::Softmax::kBefore, .active_when = "softmax is before"});
  f.field("routed_scaling_factor", c.routed_scaling_factor, "multiplies every weight", {.min = 0});
}

SY_REGISTER(Router, SoftmaxTopk, "softmax_topk", "softmax scores, top-k experts per token (Mixtral, OLMoE, Qwen3)")

}  // namespace
}  // namespace sy::moe
