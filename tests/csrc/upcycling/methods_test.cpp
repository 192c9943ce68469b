// Each upcycling method on one layer: which neurons its experts hold, and what a complete set of them computes. Those
// that look at data are in data_methods_test.cpp.
#include <algorithm>

#include "tests/csrc/upcycling/method_testing.h"

namespace sy::upcycling {
namespace {

using testing::convert;
using testing::expect_close;
using testing::expect_same;
using testing::forward;
using testing::hand_block;
using testing::occurrences;
using testing::plan_of;
using testing::random_block;
using testing::sum_of;

const std::vector<double> kX = {.5, -1, 2, .1};

TEST(WeightAtEqualLogits, IsThatOfEachGateMode) {
  const auto weight = [](const std::string& yaml) {
    moe::MoeChoices choices;
    read_fields(YamlDocument::from_text("router: " + yaml, "x.yaml"), "",
                [&](Fields& f) { f.field("router", choices.router, ""); });
    return weight_at_equal_logits(choices, 8, 2);
  };
  EXPECT_NEAR(weight("{type: softmax_topk, norm_topk_prob: false}"), 1.0 / 8, 1e-15);
  EXPECT_NEAR(weight("{type: softmax_topk, norm_topk_prob: true}"), 1.0 / 2, 1e-15);
  EXPECT_NEAR(weight("{type: softmax_topk, softmax: after}"), 1.0 / 2, 1e-15);
  EXPECT_NEAR(weight("{type: softmax_topk, norm_topk_prob: false, routed_scaling_factor: 4}"), 1.0 / 2, 1e-15);
}

TEST(SparseUpcycling, CopiesTheBlockAndNoiseTouchesHalfOfTheNeurons) {
  const Ffn dense = random_block(10, 4, 1);
  const MoeWeights made = convert("sparse_upcycling", plan_of(dense, 3, 2, 10, .5), {dense});
  ASSERT_EQ(made.experts.size(), 3u);
  for (const Ffn& expert : made.experts) expect_same(expert, dense);
  EXPECT_EQ(made.router_ED.size(), 12u);

  const MoeWeights noisy = convert("{type: sparse_upcycling, noise_std: 0.1}", plan_of(dense, 2, 2, 10, .5), {dense});
  for (const Ffn& expert : noisy.experts) {
    int changed = 0;
    for (size_t i = 0; i < 10; ++i) changed += expert.weight_FD[kDown][4 * i] != dense.weight_FD[kDown][4 * i] ? 1 : 0;
    EXPECT_EQ(changed, 5);
  }
  EXPECT_NE(noisy.experts[0].weight_FD, noisy.experts[1].weight_FD);
}

// N = 4 experts, G = 2 shards, K = 2, softmax over all experts first: each weight is 1/4, s = 4.
TEST(VirtualGroups, ExactRulesGiveTheHandWorkedBlockAndTheCubeRootDoesNot) {
  const auto output = [](const std::string& rule) {
    const MoeWeights made = convert("{type: virtual_groups, granularity: 2, scale_rule: " + rule + "}",
                                    plan_of(hand_block(), 4, 2, 2, 0.25), {hand_block()});
    return sum_of(made, 2, 4, 0.25, {1, 2});
  };
  expect_close(output("sqrt_up_down"), {4.319840, -0.615582}, 5e-7);
  expect_close(output("down_only"), {4.319840, -0.615582}, 5e-7);
  expect_close(output("cube_all"), {4.635077, -0.605105}, 5e-7);
  expect_close(output("none"), {4.319840 / 4, -0.615582 / 4}, 5e-7);
}

TEST(VirtualGroups, TwoOfEachShardArePickedAsOneAndRouterRowsRepeatWithinACopy) {
  const Ffn dense = random_block(12, 4, 2);
  const MoeWeights made = convert("{type: virtual_groups, granularity: 3, scale_rule: down_only}",
                                  plan_of(dense, 9, 6, 4, 1.0 / 6), {dense});
  expect_close(sum_of(made, 0, 6, 1.0 / 6, kX), forward(dense, kX), 1e-12);
  for (size_t e = 0; e < 9; ++e) {
    EXPECT_EQ(made.experts[e].origin_F[0].neuron, static_cast<int64_t>(4 * (e % 3)));
    for (size_t j = 0; j < 4; ++j) EXPECT_EQ(made.router_ED[4 * e + j], made.router_ED[4 * (e / 3 * 3) + j]);
  }
  EXPECT_NE(made.router_ED[0], made.router_ED[12]);
}

TEST(DynamicDino, EveryCopySumsToTheBlock) {
  const Ffn dense = random_block(12, 4, 3);
  const MoeWeights made = convert("dynamic_dino", plan_of(dense, 6, 2, 6, 0.5), {dense});
  for (size_t copy = 0; copy < 3; ++copy)
    expect_close(sum_of(made, 2 * copy, 2 * copy + 2, 0.5, kX), forward(dense, kX), 1e-12);
  EXPECT_THROW(convert("dynamic_dino", plan_of(dense, 6, 2, 6, 1.0 / 6), {dense}), UserError);
}

TEST(Qwen, EveryNeuronOccursFloorOrCeilTimesWithoutRedrawing) {
  const Ffn dense = random_block(10, 4, 4);
  LayerPlan plan = plan_of(dense, 5, 2, 4, .5);
  plan.shared_width = 6;
  MoeWeights made = convert("{type: qwen, reinit_ratio: 0}", plan, {dense});
  ASSERT_TRUE(made.shared.has_value());
  std::vector<Ffn> all = made.experts;
  all.push_back(*made.shared);  // 26 neurons of 10
  const auto count = occurrences(all);
  EXPECT_EQ(count.size(), 10u);
  for (const auto& [neuron, times] : count) EXPECT_TRUE(times == 2 || times == 3) << neuron << ": " << times;
}

TEST(Qwen, HalfOfEachRoutedExpertIsNewAndASharedExpertOfTheWholeWidthIsTheBlock) {
  const Ffn dense = random_block(10, 4, 4);
  LayerPlan plan = plan_of(dense, 4, 2, 5, .5);
  plan.shared_width = 10;
  const MoeWeights made = convert("qwen", plan, {dense});
  for (const Ffn& expert : made.experts) EXPECT_EQ(std::count(expert.origin_F.begin(), expert.origin_F.end(), kNew), 2);
  expect_close(forward(*made.shared, kX), forward(dense, kX), 1e-12);
}

TEST(DropUpcycling, RedrawsItsShareAndKeepsTheOtherNeuronsToTheBit) {
  const Ffn dense = random_block(64, 16, 5);
  const MoeWeights made = convert("{type: drop_upcycling, ratio: 0.3}", plan_of(dense, 3, 2, 64, .5), {dense});
  for (const Ffn& expert : made.experts) {
    EXPECT_EQ(std::count(expert.origin_F.begin(), expert.origin_F.end(), kNew), 19);
    for (size_t i = 0; i < 64; ++i)
      for (const Matrix m : kMatrices)
        EXPECT_EQ(expert.origin_F[i] != kNew, expert.weight_FD[m][16 * i] == dense.weight_FD[m][16 * i]);
  }
  EXPECT_NE(made.experts[0].origin_F, made.experts[1].origin_F);
}

TEST(DropUpcycling, WithoutSharedIndicesEachMatrixLosesItsOwnNeurons) {
  const Ffn dense = random_block(64, 16, 5);
  const MoeWeights made = convert("{type: drop_upcycling, share_index: false}", plan_of(dense, 1, 1, 64, 1), {dense});
  const Ffn& expert = made.experts[0];
  std::array<std::vector<bool>, 3> lost;
  for (const Matrix m : kMatrices) {
    for (size_t i = 0; i < 64; ++i) lost[m].push_back(expert.weight_FD[m][16 * i] != dense.weight_FD[m][16 * i]);
    EXPECT_EQ(std::count(lost[m].begin(), lost[m].end(), true), 32);
  }
  EXPECT_NE(lost[kGate], lost[kUp]);
  EXPECT_NE(lost[kGate], lost[kDown]);
}

TEST(DropUpcycling, WithRatioZeroIsSparseUpcyclingAndTwoExpertsHaveTheExpectedCosine) {
  const Ffn dense = random_block(512, 16, 6);
  const LayerPlan plan = plan_of(dense, 2, 2, 512, .5);
  for (const Ffn& expert : convert("{type: drop_upcycling, ratio: 0}", plan, {dense}).experts)
    expect_same(expert, dense);
  const MoeWeights made = convert("drop_upcycling", plan, {dense});
  double ab = 0, aa = 0, bb = 0;
  for (const Matrix m : kMatrices)
    for (size_t i = 0; i < dense.weight_FD[m].size(); ++i) {
      const double a = made.experts[0].weight_FD[m][i], b = made.experts[1].weight_FD[m][i];
      ab += a * b, aa += a * a, bb += b * b;
    }
  EXPECT_NEAR(ab / std::sqrt(aa * bb), 0.25, 0.05);  // (1 - ratio)^2, give or take which neurons were drawn
}

TEST(LlamaMoe, SplitsArePartitionsAndAllExpertsTogetherAreTheBlock) {
  const Ffn dense = random_block(24, 4, 7);
  for (const char* split : {"random", "clustered"}) {
    const MoeWeights made = convert(fmt::format("{{type: llama_moe, scale: exact, split: {}}}", split),
                                    plan_of(dense, 4, 4, 6, .25), {dense});
    const auto count = occurrences(made.experts);
    EXPECT_EQ(count.size(), 24u);
    for (const Ffn& expert : made.experts) EXPECT_EQ(expert.width(), 6);
    expect_close(sum_of(made, 0, 4, 0.25, kX), forward(dense, kX), 1e-12);
  }
}

TEST(LlamaMoe, ClustersFindNeuronsOfOneDirection) {
  Ffn dense = random_block(12, 4, 8);
  for (size_t i = 0; i < 12; ++i)
    for (size_t j = 0; j < 4; ++j) dense.weight_FD[kGate][4 * i + j] = j == i % 3 ? 1.0 + static_cast<double>(i) : 0.01;
  const MoeWeights made = convert("{type: llama_moe, split: clustered}", plan_of(dense, 3, 1, 4, 1), {dense});
  for (const Ffn& expert : made.experts)
    for (const Origin& origin : expert.origin_F) EXPECT_EQ(origin.neuron % 3, expert.origin_F[0].neuron % 3);
}

TEST(LlamaMoe, PaperScaleIsExpertsPerSelectedExpert) {
  const Ffn dense = random_block(24, 4, 7);
  const MoeWeights made = convert("llama_moe", plan_of(dense, 4, 2, 6, .5), {dense});
  const size_t neuron = static_cast<size_t>(made.experts[0].origin_F[0].neuron);
  EXPECT_DOUBLE_EQ(made.experts[0].weight_FD[kDown][0], 2 * dense.weight_FD[kDown][4 * neuron]);
}

TEST(SharedSplit, SharedExpertAndOneSetOfSegmentsAreTheBlock) {
  const Ffn dense = random_block(16, 4, 9);
  LayerPlan plan = plan_of(dense, 6, 3, 4, 1.0 / 6);
  plan.shared_width = 4;
  const MoeWeights made = convert("shared_split", plan, {dense});
  for (size_t copy = 0; copy < 2; ++copy)
    expect_close(sum_of(made, 3 * copy, 3 * copy + 3, 1.0 / 6, kX), forward(dense, kX), 1e-12);
  plan.shared_width = 6;
  EXPECT_THROW(convert("shared_split", plan, {dense}), UserError);
}

TEST(BranchTrainMix, ExpertsAreTheInputsInTheirOrder) {
  const std::vector<Ffn> inputs = {random_block(8, 4, 1, 0), random_block(8, 4, 1, 1)};
  LayerPlan plan = plan_of(inputs[0], 4, 2, 8, .5);
  plan.num_inputs = 2;
  const MoeWeights made = convert("branch_train_mix", plan, inputs);
  for (size_t e = 0; e < 4; ++e) expect_same(made.experts[e], inputs[e / 2]);
  plan.num_experts = 3;
  EXPECT_THROW(convert("branch_train_mix", plan, inputs), UserError);
}

TEST(Upcycling, EveryMethodDependsOnItsSeedAlone) {
  const Ffn dense = random_block(16, 4, 9);
  for (const std::string& name : Registry<Upcycling>::instance().names()) {
    LayerPlan plan = plan_of(dense, 4, 2, 16, .5);
    std::string yaml = "{type: " + name + "}";
    if (name == "virtual_groups") yaml = "{type: virtual_groups, granularity: 2}";
    if (name == "virtual_groups" || name == "dynamic_dino") plan.expert_width = 8;
    if (name == "llama_moe" || name == "moefication" || name == "factor_llm") plan.expert_width = 4;
    if (name == "shared_split")
      plan.expert_width = plan.shared_width = 4, plan.num_experts = 6, plan.num_experts_per_tok = 3;
    const LayerSamples samples = {{.x_TD = testing::random_inputs(40, 4, 1), .dy_TD = {}}};
    const MoeWeights a = convert(yaml, plan, {dense}, samples), b = convert(yaml, plan, {dense}, samples);
    plan.seed = 6;
    const MoeWeights c = convert(yaml, plan, {dense}, samples);
    EXPECT_EQ(a.router_ED, b.router_ED) << name;
    EXPECT_NE(a.router_ED, c.router_ED) << name;
    for (size_t e = 0; e < a.experts.size(); ++e) expect_same(a.experts[e], b.experts[e]);
  }
}

}  // namespace
}  // namespace sy::upcycling
