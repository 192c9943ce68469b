// Expert choice routing: Zhou et al. 2022 (arXiv 2202.09368).
//
//   P = softmax(x W^T) over experts;  each expert takes its q = ceil(T c / E) best tokens of a group of T;  w = P (raw)
// A token may get no expert (only the residual survives) or several. Load is exactly even, so there is no balance loss.
// c is num_experts_per_tok: the mean number of experts per token.
//
// Differs from the paper: nothing in the uncapped form. In a causal model the choice looks at later tokens: the layer
// refuses it unless moe.allow_batch_dependent_routing is true. group: what an expert chooses from (micro-batch or
// sequence).
#include "csrc/core/registry.h"
#include "csrc/moe/linear_router.h"
#include "csrc/moe/select.h"

namespace sy::moe {
namespace {

class ExpertChoice final : public Router {
 public:
  enum class Group { kMicroBatch, kSequence };
  struct Config {
    Group group = Group::kMicroBatch;
  };

  ExpertChoice(const Config& c, const Build& b)
      : config_(c), experts_(b.num_experts), per_token_(b.num_experts_per_tok), scorer_(b) {}

  Scores score(Context& ctx, const RouterInput& input) const override {
    Scores s;
    s.logits_TE = scorer_.logits(ctx, input.x_TD);
    s.score_TE = ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kSoftmax);
    return s;
  }
  Assignment select(Context& ctx, const RouterInput& input, const Scores& s) const override {
    const int64_t group = group_tokens(input.tokens(), input.seq_length);
    return expert_choice_select(ctx, s.score_TE.value(), bucket(group), group);
  }
  Var weigh(Context& ctx, const Scores& s, const Assignment& a, const Tensor& active) const override {
    return ops::gate_weight(ctx, s.score_TE, a.token_N, a.expert_N, active, {});
  }
  bool needs_batch() const override { return true; }
  double assignments_per_token() const override { return static_cast<double>(per_token_); }
  int64_t max_assignments(int64_t tokens, int64_t seq_length) const override {
    const int64_t group = group_tokens(tokens, seq_length);
    return tokens / group * bucket(group) * experts_;
  }

 private:
  int64_t group_tokens(int64_t tokens, int64_t seq_length) const {
    return config_.group == Group::kSequence ? seq_length : tokens;
  }
  int64_t bucket(int64_t tokens) const { return std::min(tokens, (tokens * per_token_ + experts_ - 1) / experts_); }

  Config config_;
  int64_t experts_, per_token_;
  LinearScorer scorer_;
};

void describe(ExpertChoice::Config& c, Fields& f) {
  f.field("group", c.group,
          {{"micro_batch", ExpertChoice::Group::kMicroBatch}, {"sequence", ExpertChoice::Group::kSequence}},
          "the tokens an expert chooses from");
}

SY_REGISTER(Router, ExpertChoice, "expert_choice", "every expert takes its best tokens: exactly even load, not causal")

}  // namespace
}  // namespace sy::moe
