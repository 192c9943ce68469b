// Hand-worked numbers of each router and hook on fixture F1, and the traps around them.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/conformance/f1_layer.h"

namespace sy::test {
namespace {

// A router alone: what it selects and how it weighs.
struct RoutedF1 {
  explicit RoutedF1(const std::vector<std::string>& overrides, const Doubles& bias = {},
                    const Doubles& logits = kF1Logits)
      : ctx(DeviceType::cpu), parameters(ctx, DType::f64) {
    const MoeConfig config = f1_moe(overrides);
    const auto router = config.methods.router.build({.parameters = &parameters,
                                                     .prefix = "mlp",
                                                     .hidden_size = 4,
                                                     .vocab_size = 16,
                                                     .num_experts = 4,
                                                     .num_experts_per_tok = config.num_experts_per_tok});
    ctx.copy_from_host(parameters.find("mlp.gate.weight")->value, kF1RouterWeight.data());
    moe::RouterInput input;
    input.x_TD = Var(ctx.from_host<double>(logits, {4, 4}, MemoryKind::data));
    input.sequences = 1;
    input.seq_length = 4;
    moe::Scores scores = router->score(ctx, input);
    if (!bias.empty()) scores.select_bias_E = ctx.from_host<double>(bias, {4}, MemoryKind::data);
    const moe::Assignment list = router->select(ctx, input, scores);
    token = ctx.to_host<int32_t>(list.token_N);
    expert = ctx.to_host<int32_t>(list.expert_N);
    weight = ctx.to_host<double>(router->weigh(ctx, scores, list, {}).value());
  }
  // Experts of each token.
  std::vector<int> set_sizes() const {
    std::vector<int> sizes(4);
    for (const int32_t t : token)
      if (t >= 0) ++sizes[static_cast<std::size_t>(t)];
    return sizes;
  }

  Context ctx;
  ParameterList parameters;
  Ints token, expert;
  Doubles weight;
};

// --- softmax top-k (Mixtral, OLMoE, Qwen3) ---

TEST(SoftmaxTopk, RenormalisedWeightsAreTheSoftmaxOfTheSelectedLogits) {
  const RoutedF1 before({"moe.router={type: softmax_topk, norm_topk_prob: true}"});
  const RoutedF1 after({"moe.router={type: softmax_topk, softmax: after}"});
  EXPECT_EQ(before.expert, (Ints{0, 1, 1, 2, 1, 0, 2, 3}));
  expect_near(before.weight, {.731059, .268941, .880797, .119203, .622459, .377541, .731059, .268941});
  EXPECT_EQ(after.expert, before.expert);
  expect_near(after.weight, before.weight, 1e-15);
}

TEST(SoftmaxTopk, RawWeightsAreProbabilitiesOverAllExperts) {
  const RoutedF1 raw({"moe.router={type: softmax_topk, norm_topk_prob: false}"});
  expect_near(raw.weight, {.643914, .236883, .809776, .109591, .473991, .287490, .643914, .236883});
  const RoutedF1 scaled({"moe.router={type: softmax_topk, norm_topk_prob: false, routed_scaling_factor: 2}"});
  for (std::size_t i = 0; i < 8; ++i) EXPECT_DOUBLE_EQ(scaled.weight[i], 2 * raw.weight[i]);
}

TEST(SoftmaxTopk, OneNormalisedExpertIsRefused) {
  for (const char* router : {"{type: softmax_topk}", "{type: softmax_topk, softmax: after}", "{type: sigmoid_topk}"}) {
    const std::string message = f1_refusal({std::string("moe.router=") + router, "moe.num_experts_per_tok=1"});
    EXPECT_NE(message.find("gives the router no gradient; set norm_topk_prob: false"), std::string::npos) << message;
  }
}

// --- sigmoid top-k, groups, selection bias (DeepSeek-V3) ---

TEST(SigmoidTopk, NormalisedAndScaledWeights) {
  const RoutedF1 routed({"moe.router={type: sigmoid_topk, routed_scaling_factor: 2.5}"});
  expect_near(routed.weight, {1.366123, 1.133877, 1.414462, 1.085538, 1.319832, 1.180168, 1.366123, 1.133877});
  EXPECT_EQ(RoutedF1({"moe.router={type: sigmoid_topk, n_group: 1}"}).expert, routed.expert);
}

TEST(SigmoidTopk, UnlikeSoftmaxAShiftOfAllLogitsChangesTheWeights) {
  Doubles shifted = kF1Logits;
  for (double& l : shifted) l += 1;
  const std::vector<std::string> sigmoid = {"moe.router={type: sigmoid_topk}"};
  EXPECT_GT(std::abs(RoutedF1(sigmoid, {}, shifted).weight[0] - RoutedF1(sigmoid).weight[0]), 0.01);
  const std::vector<std::string> plain = {"moe.router={type: softmax_topk}"};
  expect_near(RoutedF1(plain, {}, shifted).weight, RoutedF1(plain).weight, 1e-14);
}

TEST(SigmoidTopk, ABiasThatKeepsTheSelectionKeepsEveryWeight) {
  const std::vector<std::string> router = {"moe.router={type: sigmoid_topk}"};
  const RoutedF1 plain(router);
  for (const Doubles& bias : {Doubles{5, 5, 5, 5}, Doubles{.01, .02, .01, 0}, Doubles{-3, -3, -3, -3}}) {
    const RoutedF1 biased(router, bias);
    EXPECT_EQ(biased.expert, plain.expert);
    EXPECT_EQ(biased.weight, plain.weight);
  }
}

TEST(SigmoidTopk, ABiasThatChangesTheSelectionLeavesTheWeightToTheScore) {
  const RoutedF1 biased({"moe.router={type: sigmoid_topk, norm_topk_prob: false}"}, {0, 0, 0, 10});
  const auto sigmoid = [](double l) { return 1 / (1 + std::exp(-l)); };
  EXPECT_EQ(biased.expert, (Ints{3, 0, 3, 1, 3, 1, 3, 2}));
  expect_near(biased.weight,
              {sigmoid(-1), sigmoid(2), sigmoid(0), sigmoid(3), sigmoid(.5), sigmoid(1.5), sigmoid(1), sigmoid(2)},
              1e-14);
}

TEST(SigmoidTopk, ATokenStaysInsideItsBestGroups) {
  const RoutedF1 routed({"moe.router={type: sigmoid_topk, n_group: 2, topk_group: 1}"});
  EXPECT_EQ(routed.expert, (Ints{0, 1, 1, 0, 1, 0, 2, 3}));
}

// r = [-.1 -.2 | -.5 -.6]: masking the losing group with 0 instead of -inf would let it win.
TEST(SigmoidTopk, MaskedGroupsLoseEvenToNegativeScores) {
  const RoutedF1 routed({"moe.router={type: sigmoid_topk, n_group: 2, topk_group: 1}"}, {-.6, -.7, -1, -1.1},
                        Doubles(16, 0.0));
  EXPECT_EQ(routed.expert, (Ints{0, 1, 0, 1, 0, 1, 0, 1}));
}

TEST(SigmoidTopk, GroupsThatCannotHoldEnoughExpertsAreRefused) {
  EXPECT_NE(f1_refusal({"moe.router={type: sigmoid_topk, n_group: 3}"}).find("3 does not divide num_experts: 4"),
            std::string::npos);
  EXPECT_NE(f1_refusal({"moe.router={type: sigmoid_topk, n_group: 4, topk_group: 1}"}).find("raise topk_group"),
            std::string::npos);
  EXPECT_NE(f1_refusal({"moe.router={type: sigmoid_topk, topk_group: 2}"}).find("exceeds n_group"), std::string::npos);
}

Doubles bias_after_one_step(const std::string& hook, const std::vector<int64_t>& demand) {
  Context ctx(DeviceType::cpu);
  ParameterList parameters(ctx, DType::f64);
  ctx.upload_step_state();
  const auto built = f1_moe({"moe.hooks=[" + hook + "]"})
                         .methods.hooks.items()[0]
                         .build({.parameters = &parameters, .prefix = "mlp", .num_experts = 4});
  built->after_step(ctx, ctx.from_host<int64_t>(demand, {4}, MemoryKind::data));
  return ctx.to_host<double>(built->state()[0].tensor);
}

TEST(SelectionBias, OverloadedExpertsSinkAndIdleOnesRise) {
  expect_near(bias_after_one_step("{type: selection_bias, update_rate: 0.01}", {2, 3, 2, 1}), {0, -.01, 0, .01}, 1e-16);
  expect_near(bias_after_one_step("{type: selection_bias, update_rate: 0.01}", {3, 1, 0, 0}), {-.01, 0, .01, .01},
              1e-16);
}

TEST(SelectionBias, CentredBiasesKeepSummingToZero) {
  expect_near(bias_after_one_step("{type: selection_bias, update_rate: 0.01, center: true}", {3, 1, 0, 0}),
              {-.0125, -.0025, .0075, .0075}, 1e-16);
}

TEST(SelectionBias, MovesWithTheCountsOfTheLayersOwnStep) {
  auto rig = f1_layer({"moe.router={type: sigmoid_topk}", "moe.hooks=[{type: selection_bias, update_rate: 0.5}]"});
  rig->forward();
  EXPECT_EQ(rig->demand(), (std::vector<int64_t>{2, 3, 2, 1}));
  rig->end_step();
  expect_near(rig->read(rig->layer().state()[0].tensor), {0, -.5, 0, .5}, 1e-16);
}

TEST(SelectionBias, RoutersThatDoNotReadItRefuseIt) {
  for (const char* router : {"hash", "top_p", "expert_choice"}) {
    const std::string message =
        f1_refusal({std::string("moe.router={type: ") + router + "}", "moe.hooks=[{type: selection_bias}]",
                    "moe.allow_batch_dependent_routing=true"});
    EXPECT_NE(message.find(std::string("router '") + router + "' does not read a selection bias"), std::string::npos)
        << message;
  }
}

// --- Switch, top-p, expert choice, hash ---

TEST(SwitchTop1, TakesTheBestExpertWithItsRawProbability) {
  const RoutedF1 routed({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1}"});
  EXPECT_EQ(routed.expert, (Ints{0, 1, 1, 2}));
  expect_near(routed.weight, {.643914, .809776, .473991, .643914});
  EXPECT_NE(f1_refusal({"moe.router={type: switch_top1}"}).find("set moe.num_experts_per_tok: 1 (it is 2)"),
            std::string::npos);
}

TEST(SwitchTop1, JitterTouchesTrainingOnly) {
  auto rig = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1, jitter_eps: 0.1}"});
  auto still = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1, jitter_eps: 0}"});
  EXPECT_EQ(rig->forward(false).y, still->forward(false).y);
  EXPECT_NE(rig->forward(true).y, still->forward(true).y);
}

TEST(TopP, TakesTheShortestPrefixThatExceedsP) {
  const auto sizes = [](const std::string& p) {
    return RoutedF1({"moe.router={type: top_p, top_p: " + p + "}"}).set_sizes();
  };
  EXPECT_EQ(sizes("0"), (std::vector<int>{1, 1, 1, 1}));
  EXPECT_EQ(sizes("0.4"), (std::vector<int>{1, 1, 1, 1}));
  EXPECT_EQ(sizes("0.6"), (std::vector<int>{1, 1, 2, 1}));
  EXPECT_EQ(sizes("0.8"), (std::vector<int>{2, 1, 3, 2}));
  EXPECT_EQ(sizes("0.95"), (std::vector<int>{3, 3, 4, 3}));
  EXPECT_EQ(sizes("1"), (std::vector<int>{4, 4, 4, 4}));
}

TEST(TopP, ASumEqualToPIsNotEnough) {
  Doubles logits(16, -1000.0);
  for (int t = 0; t < 4; ++t) logits[static_cast<std::size_t>(4 * t)] = logits[static_cast<std::size_t>(4 * t + 1)] = 0;
  EXPECT_EQ(RoutedF1({"moe.router={type: top_p, top_p: 0.5}"}, {}, logits).set_sizes(), (std::vector<int>{2, 2, 2, 2}));
}

TEST(TopP, WeightsAreRawSoThatThePrefixOfEverythingSumsToOne) {
  const RoutedF1 all({"moe.router={type: top_p, top_p: 1}"});
  for (int t = 0; t < 4; ++t) {
    double sum = 0;
    for (int j = 0; j < 4; ++j) sum += all.weight[static_cast<std::size_t>(4 * t + j)];
    EXPECT_NEAR(sum, 1, 1e-14);
  }
  const RoutedF1 some({"moe.router={type: top_p, top_p: 0.6, max_experts_per_tok: 2}"});
  EXPECT_EQ(some.expert, (Ints{0, -1, 1, -1, 1, 0, 2, -1}));
  EXPECT_NEAR(some.weight[4], .473991, 1e-6);
}

TEST(ExpertChoice, EveryExpertTakesItsBestTokens) {
  const RoutedF1 one({"moe.num_experts_per_tok=1", "moe.router={type: expert_choice}"});
  EXPECT_EQ(one.token, (Ints{0, 1, 3, 3}));
  EXPECT_EQ(one.expert, (Ints{0, 1, 2, 3}));
  EXPECT_EQ(one.set_sizes(), (std::vector<int>{1, 1, 0, 2}));
  const RoutedF1 two({"moe.router={type: expert_choice}"});
  EXPECT_EQ(two.token, (Ints{0, 2, 1, 2, 3, 1, 3, 2}));
}

TEST(ExpertChoice, OutputIsTheRawMixtureAndUnchosenTokensGetNothing) {
  auto rig = f1_layer(
      {"moe.num_experts_per_tok=1", "moe.router={type: expert_choice}", "moe.allow_batch_dependent_routing=true"});
  const Doubles y = rig->forward().y;
  EXPECT_EQ(row_of(y, 2), Doubles(4, 0.0));
  const Doubles x = row_of(kF1Logits, 3), a = expert_output(*rig, 2, x), b = expert_output(*rig, 3, x);
  for (std::size_t d = 0; d < 4; ++d) EXPECT_NEAR(row_of(y, 3)[d], .643914 * a[d] + .236883 * b[d], 2e-6);
}

TEST(ExpertChoice, ACausalModelRefusesItUnlessAllowed) {
  const std::string message = f1_refusal({"moe.router={type: expert_choice}"});
  EXPECT_NE(message.find("router 'expert_choice' with capacity 'dropless' chooses experts by looking at other tokens"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("set moe.allow_batch_dependent_routing: true"), std::string::npos) << message;
  for (const char* capacity : {"score", "token_score"})
    EXPECT_NE(f1_refusal({std::string("moe.capacity={type: ") + capacity + "}"}).find("allow_batch_dependent_routing"),
              std::string::npos)
        << capacity;
  EXPECT_EQ(f1_refusal({"moe.capacity={type: position}"}), "accepted");
}

TEST(Hash, TheBalancedTableDealsTokenIdsOutEvenly) {
  auto rig = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: hash}"});
  std::vector<int> ids(4);
  for (const int32_t e : rig->ctx().to_host<int32_t>(rig->layer().state()[0].tensor))
    ++ids[static_cast<std::size_t>(e)];
  EXPECT_EQ(ids, (std::vector<int>{4, 4, 4, 4}));
}

TEST(Hash, HasNoRouterParameterAndWeighsEveryExpertOne) {
  auto rig = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: hash}"});
  for (const Parameter& p : rig->parameters().all()) EXPECT_TRUE(p.name.starts_with("mlp.experts.")) << p.name;
  const LayerRig::Result r = rig->forward();
  for (int64_t t = 0; t < 4; ++t)
    expect_near(row_of(r.y, t),
                expert_output(*rig, r.decisions.expert[static_cast<std::size_t>(t)], row_of(kF1Logits, t)), 1e-14);
}

TEST(Hash, PermutingABatchPermutesItsOutputs) {
  auto rig = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: hash}"});
  rig->set_token_ids({3, 1, 4, 1});
  const Doubles y = rig->forward().y;
  Doubles swapped = kF1Logits;
  std::swap_ranges(swapped.begin(), swapped.begin() + 4, swapped.begin() + 8);
  rig->set_input(swapped);
  rig->set_token_ids({4, 1, 3, 1});
  const Doubles z = rig->forward().y;
  EXPECT_EQ(row_of(z, 0), row_of(y, 2));
  EXPECT_EQ(row_of(z, 2), row_of(y, 0));
  EXPECT_EQ(row_of(z, 3), row_of(y, 3));
}

TEST(Hash, LossesOnProbabilitiesAreRefused) {
  for (const char* balance : {"load_balancing", "z_loss", "entropy", "squared_cv"}) {
    const std::string message = f1_refusal(
        {"moe.num_experts_per_tok=1", "moe.router={type: hash}", std::string("moe.balance=[{type: ") + balance + "}]"});
    EXPECT_NE(message.find(std::string("moe.balance: ") + balance + " needs a router with"), std::string::npos)
        << message;
  }
}

}  // namespace
}  // namespace sy::test
