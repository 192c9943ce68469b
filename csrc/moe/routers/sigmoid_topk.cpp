// Sigmoid top-k routing with group-limited selection: DeepSeek-V3 (2024, arXiv 2412.19437), section 2.1.2.
//
//   l = x W^T (fp32);  s = sigmoid(l);  r = s + b (b: selection bias, see hooks/selection_bias.cpp; never in the
//   weight) E splits into n_group equal groups, scored by the sum of their two best r; the best topk_group groups stay.
//   S_t = top-k of r inside;  w = routed_scaling_factor * s / (sum over S of s + 1e-20)   (norm_topk_prob), else
//   scaling * s
// Balance losses act on s / (sum of s over all experts).
//
// Differs from the paper: nothing (n_group: 1 gives the ungrouped form of Wang et al. 2024, arXiv 2408.15664). Groups
// of one expert are scored by that expert alone.
#include "csrc/core/registry.h"
#include "csrc/moe/linear_router.h"
#include "csrc/moe/select.h"

namespace sy::moe {
namespace {

class SigmoidTopk final : public Router {
 public:
  struct Config {
    int64_t n_group = 1;
    int64_t topk_group = 1;
    bool norm_topk_prob = true;
    double routed_scaling_factor = 1.0;
  };

  SigmoidTopk(const Config& c, const Build& b) : config_(c), k_(b.num_experts_per_tok), scorer_(b) {
    if (b.num_experts % c.n_group != 0)
      user_error("moe.router.n_group: {} does not divide num_experts: {}", c.n_group, b.num_experts);
    if (c.topk_group > c.n_group) user_error("moe.router.topk_group: {} exceeds n_group: {}", c.topk_group, c.n_group);
    if (c.topk_group * (b.num_experts / c.n_group) < k_)
      user_error("moe.router: {} groups of {} experts cannot give {} experts per token; raise topk_group", c.topk_group,
                 b.num_experts / c.n_group, k_);
    if (k_ == 1 && c.norm_topk_prob)
      user_error(
          "moe.router: sigmoid_topk with num_experts_per_tok: 1 and norm_topk_prob: true gives the router no gradient; "
          "set "
          "norm_topk_prob: false");
  }

  Scores score(Context& ctx, const RouterInput& input) const override {
    Scores s;
    s.logits_TE = scorer_.logits(ctx, input.x_TD);
    s.score_TE = ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kSigmoid);
    return s;
  }
  Assignment select(Context& ctx, const RouterInput&, const Scores& s) const override {
    return topk_select(ctx, s.score_TE.value(), s.select_bias_E,
                       {.k = k_, .groups = config_.n_group, .groups_kept = config_.topk_group});
  }
  Var weigh(Context& ctx, const Scores& s, const Assignment& a, const Tensor& active) const override {
    const auto mode = config_.norm_topk_prob ? kernels::GateWeightMode::kRenormalised : kernels::GateWeightMode::kRaw;
    return ops::gate_weight(ctx, s.score_TE, a.token_N, a.expert_N, active,
                            {.mode = mode, .per_token = a.per_token, .scale = config_.routed_scaling_factor});
  }
  Var balance_probability(Context& ctx, const Scores& s) const override {
    return ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kNormalisedSigmoid);
  }
  bool reads_selection_bias() const override { return true; }
  double assignments_per_token() const override { return static_cast<double>(k_); }
  int64_t max_assignments(int64_t tokens, int64_t) const override { return tokens * k_; }

 private:
  Config config_;
  int64_t k_;
  LinearScorer scorer_;
};

void describe(SigmoidTopk::Config& c, Fields& f) {
  f.field("n_group", c.n_group, "equal groups of adjacent experts; 1: no groups", {.min = 1});
  f.field("topk_group", c.topk_group, "groups a token may choose from", {.min = 1});
  f.field("norm_topk_prob", c.norm_topk_prob, "divide the selected scores by their sum");
  f.field("routed_scaling_factor", c.routed_scaling_factor, "multiplies every weight", {.min = 0});
}

SY_REGISTER(Router, SigmoidTopk, "sigmoid_topk",
            "sigmoid scores, top-k, optional groups and selection bias (DeepSeek-V3)")

}  // namespace
}  // namespace sy::moe
