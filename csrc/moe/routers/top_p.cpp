// Dynamic (top-p) routing: Huang et al. 2024, "Harder tasks need more experts" (arXiv 2403.07652).
//
//   P = softmax(x W^T);  experts in descending P until their sum is strictly above p (at least one; all if never
//   reached) w = P on that prefix, not renormalised;  the paper adds a load-balancing loss (1e-2) and an entropy loss
//   (1e-4).
//
// Differs from the paper: at most max_experts_per_tok experts per token (0: all of them), which bounds the buffers.
#include "csrc/core/registry.h"
#include "csrc/moe/linear_router.h"
#include "csrc/moe/select.h"

namespace sy::moe {
namespace {

class TopP final : public Router {
 public:
  struct Config {
    double top_p = 0.4;
    int64_t max_experts_per_tok = 0;
  };

  TopP(const Config& c, const Build& b)
      : config_(c),
        per_token_(c.max_experts_per_tok == 0 ? b.num_experts : c.max_experts_per_tok),
        k_(b.num_experts_per_tok),
        scorer_(b) {
    if (per_token_ > b.num_experts)
      user_error("moe.router.max_experts_per_tok: {} exceeds num_experts: {}", per_token_, b.num_experts);
  }

  Scores score(Context& ctx, const RouterInput& input) const override {
    Scores s;
    s.logits_TE = scorer_.logits(ctx, input.x_TD);
    s.score_TE = ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kSoftmax);
    return s;
  }
  Assignment select(Context& ctx, const RouterInput&, const Scores& s) const override {
    return top_p_select(ctx, s.score_TE.value(), config_.top_p, per_token_);
  }
  Var weigh(Context& ctx, const Scores& s, const Assignment& a, const Tensor& active) const override {
    return ops::gate_weight(ctx, s.score_TE, a.token_N, a.expert_N, active, {.per_token = a.per_token});
  }
  double assignments_per_token() const override { return static_cast<double>(k_); }
  int64_t max_assignments(int64_t tokens, int64_t) const override { return tokens * per_token_; }

 private:
  Config config_;
  int64_t per_token_, k_;
  LinearScorer scorer_;
};

void describe(TopP::Config& c, Fields& f) {
  f.field("top_p", c.top_p, "take experts until their probability exceeds this", {.min = 0, .max = 1});
  f.field("max_experts_per_tok", c.max_experts_per_tok, "cut at this many experts per token; 0: num_experts",
          {.min = 0});
}

SY_REGISTER(Router, TopP, "top_p", "as many experts as it takes to exceed probability p (dynamic routing)")

}  // namespace
}  // namespace sy::moe
