// Router scores, combine weights and selection against PyTorch (router state lives in the accumulation type).
#include "csrc/moe/select.h"
#include "tests/csrc/ops/golden_fixture.h"

namespace sy {
namespace {

using golden::Golden;
using kernels::GateWeightMode;
using kernels::ScoreLink;

class RouterGolden : public OpGolden {
 protected:
  void expect_scores(const std::string& file, ScoreLink link) {
    const Golden g(ctx, file);
    const Var logits(g.load("logits", type()), true);
    const Var score = ops::router_scores(ctx, logits, link);
    g.expect("score", score.value(), type());
    backward(score, g.load("dscore", type()));
    g.expect("dlogits", logits.grad(), type());
  }
  void expect_weights(const std::string& file, GateWeightMode mode) {
    const Golden g(ctx, file);
    const Var score(g.load("score", type()), true);
    const Var weight =
        ops::gate_weight(ctx, score, g.load("token"), g.load("expert"), g.load("active"),
                         {.mode = mode, .per_token = g.integer("per_token"), .scale = g.number("scale")});
    g.expect("weight", weight.value(), type());
    backward(weight, g.load("dweight", type()));
    g.expect("dscore", score.grad(), type());
  }
  static void expect_assignment(const Golden& g, const moe::Assignment& assignment, int64_t per_token) {
    EXPECT_EQ(assignment.per_token, per_token);
    g.expect_equal("token", assignment.token_N);
    g.expect_equal("expert", assignment.expert_N);
  }
};
INSTANTIATE_TEST_SUITE_P(Types, RouterGolden, ::testing::Values(DType::f32, DType::f64), dtype_test_name);

TEST_P(RouterGolden, SoftmaxScoresEqualPytorch) { expect_scores("router_scores_softmax", ScoreLink::kSoftmax); }
TEST_P(RouterGolden, SigmoidScoresEqualPytorch) { expect_scores("router_scores_sigmoid", ScoreLink::kSigmoid); }
TEST_P(RouterGolden, NormalisedSigmoidScoresEqualPytorch) {
  expect_scores("router_scores_normalised_sigmoid", ScoreLink::kNormalisedSigmoid);
}

// With holes, inactive entries, and a token of which nothing counts.
TEST_P(RouterGolden, RawWeightsEqualPytorch) { expect_weights("gate_weight_raw", GateWeightMode::kRaw); }
TEST_P(RouterGolden, RenormalisedWeightsEqualPytorch) {
  expect_weights("gate_weight_renormalised", GateWeightMode::kRenormalised);
}
TEST_P(RouterGolden, SoftmaxWeightsEqualPytorch) { expect_weights("gate_weight_softmax", GateWeightMode::kSoftmax); }

TEST_P(RouterGolden, TopkSelectsWhatPytorchSelects) {
  const Golden g(ctx, "topk_select");
  const int64_t k = g.integer("k");
  expect_assignment(g, moe::topk_select(ctx, g.load("score", type()), {}, {.k = k}), k);
}

TEST_P(RouterGolden, GroupLimitedTopkWithBiasSelectsWhatPytorchSelects) {
  const Golden g(ctx, "topk_select_grouped");
  ASSERT_EQ(g.integer("group_top"), 2);
  const int64_t k = g.integer("k");
  expect_assignment(g,
                    moe::topk_select(ctx, g.load("score", type()), g.load("bias", type()),
                                     {.k = k, .groups = g.integer("groups"), .groups_kept = g.integer("groups_kept")}),
                    k);
}

TEST_P(RouterGolden, TopPSelectsWhatPytorchSelects) {
  const Golden g(ctx, "top_p_select");
  const int64_t bound = g.integer("max_per_token");
  expect_assignment(g, moe::top_p_select(ctx, g.load("probability", type()), g.number("p"), bound), bound);
}

TEST_P(RouterGolden, ExpertChoiceSelectsWhatPytorchSelects) {
  const Golden g(ctx, "expert_choice_select");
  expect_assignment(
      g, moe::expert_choice_select(ctx, g.load("score", type()), g.integer("capacity"), g.integer("group_tokens")), 1);
}

}  // namespace
}  // namespace sy
