// Methods that look at data, on one layer: experts by what neurons do on samples, routers fitted to them.
#include <algorithm>
#include <numeric>

#include "tests/csrc/upcycling/method_testing.h"

namespace sy::upcycling {
namespace {

using testing::convert;
using testing::expect_close;
using testing::forward;
using testing::hand_block;
using testing::neurons_of;
using testing::occurrences;
using testing::plan_of;
using testing::random_block;
using testing::random_inputs;
using testing::sum_of;

const std::vector<double> kX = {.5, -1, 2, .1};

LayerSamples inputs_only(std::vector<float> x_TD) { return {{.x_TD = std::move(x_TD), .dy_TD = {}}}; }

// The k experts of largest logit at one input.
std::vector<size_t> selected(const MoeWeights& made, std::span<const float> x_D, size_t k) {
  const std::vector<double> z = products(x_D, made.router_ED, std::ssize(x_D));
  std::vector<size_t> order(z.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return z[a] > z[b]; });
  order.resize(k);
  return order;
}

TEST(Moefication, BothSplitsArePartitionsAndAllExpertsAreTheBlock) {
  const Ffn dense = random_block(24, 4, 7);
  for (const char* split : {"clustered", "coactivation"}) {
    const MoeWeights made = convert(fmt::format("{{type: moefication, split: {}}}", split),
                                    plan_of(dense, 4, 4, 6, .25), {dense}, inputs_only(random_inputs(60, 4, 1)));
    EXPECT_EQ(occurrences(made.experts).size(), 24u);
    for (const Ffn& expert : made.experts) EXPECT_EQ(expert.width(), 6);
    expect_close(sum_of(made, 0, 4, 0.25, kX), forward(dense, kX), 1e-12);
  }
}

// Neuron i reads element i mod 2 of x alone, and each token has one such element.
TEST(Moefication, NeuronsThatFireTogetherBecomeAnExpertWhateverTheirDirection) {
  Ffn dense = random_block(12, 4, 8);
  std::vector<float> x_TD;
  for (int t = 0; t < 40; ++t) x_TD.insert(x_TD.end(), {t % 2 == 0 ? 1.F : 0.F, t % 2 == 0 ? 0.F : 1.F, 0.F, 0.F});
  for (size_t i = 0; i < 12; ++i)
    for (size_t j = 0; j < 2; ++j) {
      dense.weight_FD[kGate][4 * i + j] = j == i % 2 ? 1.0 + static_cast<double>(i) : 0;
      dense.weight_FD[kUp][4 * i + j] = j == i % 2 ? 1 : 0;
      dense.weight_FD[kGate][4 * i + 2 + j] = (i / 2 % 2 == j) ? 50 : -50;  // directions differ where nothing is
    }
  const MoeWeights made = convert("{type: moefication, split: coactivation, active_share: 0.5}",
                                  plan_of(dense, 2, 1, 6, 1), {dense}, inputs_only(x_TD));
  for (const Ffn& expert : made.experts)
    for (const int64_t i : neurons_of(expert)) EXPECT_EQ(i % 2, neurons_of(expert)[0] % 2);
  for (size_t t = 0; t < 2; ++t) {
    const size_t e = selected(made, std::span(x_TD).subspan(4 * t, 4), 1)[0];
    EXPECT_EQ(neurons_of(made.experts[e])[0] % 2, static_cast<int64_t>(t));
  }
}

// Of the activation of all experts, the share that the router's K experts have: 1 for K = E, and nearer to the best K
// experts' than to that of experts taken at random.
TEST(Moefication, FittedRouterIsNearerToTheBestExpertsThanToRandomOnes) {
  const Ffn dense = random_block(64, 8, 9);
  const std::vector<float> x_TD = random_inputs(400, 8, 2);
  const MoeWeights made = convert("moefication", plan_of(dense, 8, 2, 8, .5), {dense}, inputs_only(x_TD));
  double by_router = 0, best = 0, all = 0;
  for (size_t t = 0; t < 400; ++t) {
    const auto x_D = std::span(x_TD).subspan(8 * t, 8);
    std::vector<double> score;
    for (const Ffn& expert : made.experts) {
      const std::vector<double> h = activations(expert, x_D);
      score.push_back(std::accumulate(h.begin(), h.end(), 0.0, [](double s, double v) { return s + std::fabs(v); }));
    }
    for (const size_t e : selected(made, x_D, 2)) by_router += score[e];
    all += std::accumulate(score.begin(), score.end(), 0.0);
    std::sort(score.rbegin(), score.rend());
    best += score[0] + score[1];
  }
  const double random = 2.0 / 8 * all;
  EXPECT_LT(by_router, best);
  EXPECT_GT(by_router - random, best - by_router) << random / all << " " << by_router / all << " " << best / all;
}

// Errors (1.165438, 7.502017, .765933, 12.602138) against half of the block.
TEST(FactorLlm, RouterPicksTheTwoChunksNearestToTheBlockOnTheHandWorkedExample) {
  const MoeWeights made = convert("{type: factor_llm, router_epochs: 200}", plan_of(hand_block(), 4, 2, 1, .5),
                                  {hand_block()}, inputs_only({1, 2, 1, 2, 1, 2}));
  std::vector<size_t> chosen = selected(made, std::vector<float>{1, 2}, 2);
  std::sort(chosen.begin(), chosen.end());
  EXPECT_EQ(chosen, (std::vector<size_t>{0, 2}));
  std::vector<double> y = sum_of(made, 0, 1, .5, {1, 2}), of_2 = sum_of(made, 2, 3, .5, {1, 2});
  expect_close({y[0] + of_2[0], y[1] + of_2[1]}, {13.026031, 1.428861}, 5e-6);
}

TEST(FactorLlm, ChunksAreContiguousOrAPartitionAndTogetherTheBlock) {
  const Ffn dense = random_block(24, 4, 7);
  for (const char* split : {"contiguous", "random"}) {
    const MoeWeights made = convert(fmt::format("{{type: factor_llm, split: {}}}", split), plan_of(dense, 4, 4, 6, .25),
                                    {dense}, inputs_only(random_inputs(60, 4, 1)));
    EXPECT_EQ(occurrences(made.experts).size(), 24u);
    expect_close(sum_of(made, 0, 4, 0.25, kX), forward(dense, kX), 1e-12);
    EXPECT_EQ(neurons_of(made.experts[1]) == (std::vector<int64_t>{6, 7, 8, 9, 10, 11}),
              std::string(split) == "contiguous");
  }
}

// The share of selected experts that are among the two nearest of four (chance: a half), on tokens of six kinds.
TEST(FactorLlm, FittedRouterFindsTheNearestChunksMoreOftenThanARandomOne) {
  const Ffn dense = random_block(32, 8, 10);
  const std::vector<float> kinds = random_inputs(6, 8, 4);
  std::vector<float> x_TD = random_inputs(400, 8, 3);
  for (size_t i = 0; i < x_TD.size(); ++i) x_TD[i] = kinds[i / 8 % 6 * 8 + i % 8] + 0.1F * x_TD[i];
  const auto share_right = [&](int64_t epochs) {
    const MoeWeights made = convert(fmt::format("{{type: factor_llm, router_epochs: {}}}", epochs),
                                    plan_of(dense, 4, 2, 8, .5), {dense}, inputs_only(x_TD));
    double right = 0;
    for (size_t t = 0; t < 400; ++t) {
      const auto x_D = std::span(x_TD).subspan(8 * t, 8);
      const std::vector<double> whole = outputs(dense, x_D);
      std::vector<double> error;
      for (const Ffn& expert : made.experts) {
        const std::vector<double> part = outputs(expert, x_D);  // times E / (w K) = 4
        double sum = 0;
        for (size_t j = 0; j < 8; ++j) sum += (part[j] / 4 - whole[j] / 2) * (part[j] / 4 - whole[j] / 2);
        error.push_back(sum);
      }
      std::vector<double> sorted = error;
      std::sort(sorted.begin(), sorted.end());
      for (const size_t e : selected(made, x_D, 2)) right += error[e] <= sorted[1] ? 0.5 / 400 : 0;
    }
    return right;
  };
  EXPECT_LT(share_right(0), 0.7);
  EXPECT_GT(share_right(60), 0.8);
}

// Salience (3.655, 0, 2.858, 2.193) on the first text, (0, 3.523, .714, 2.193) on the second.
TEST(LlamaMoe, SplitsBySalienceOnTheHandWorkedExample) {
  const Ffn dense = hand_block();
  const LayerSamples texts = {{.x_TD = {1, 2}, .dy_TD = {1, 0}}, {.x_TD = {1, 2}, .dy_TD = {0, 1}}};
  LayerPlan plan = plan_of(dense, 2, 2, 2, .5);
  plan.num_texts = 2;
  const MoeWeights divided = convert("{type: llama_moe, split: gradient, scale: exact}", plan, {dense}, texts);
  EXPECT_EQ(neurons_of(divided.experts[0]), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(neurons_of(divided.experts[1]), (std::vector<int64_t>{1, 3}));
  expect_close(sum_of(divided, 0, 2, .5, {1, 2}), {4.319840, -0.615582}, 5e-7);

  plan.expert_width = 3;
  const MoeWeights inner = convert("{type: llama_moe, split: sharing_inner}", plan, {dense}, texts);
  EXPECT_EQ(neurons_of(inner.experts[0]), (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(neurons_of(inner.experts[1]), (std::vector<int64_t>{1, 2, 3}));

  plan.expert_width = 1;
  plan.shared_width = 2;
  const MoeWeights inter = convert("{type: llama_moe, split: sharing_inter, scale: exact}", plan, {dense}, texts);
  EXPECT_EQ(neurons_of(*inter.shared), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(neurons_of(inter.experts[0]), (std::vector<int64_t>{2}));
  EXPECT_EQ(neurons_of(inter.experts[1]), (std::vector<int64_t>{3}));
  expect_close(sum_of(inter, 0, 2, .5, {1, 2}), {4.319840, -0.615582}, 5e-7);
}

TEST(LlamaMoe, RefusesTextsAndWidthsThatDoNotFitTheSplit) {
  const Ffn dense = hand_block();
  LayerPlan plan = plan_of(dense, 2, 2, 2, .5);
  plan.num_texts = 3;
  EXPECT_THROW(convert("{type: llama_moe, split: gradient}", plan, {dense}), UserError);
  plan.num_texts = 2;
  plan.shared_width = 1;
  EXPECT_THROW(convert("{type: llama_moe, split: sharing_inter}", plan, {dense}), UserError);
  plan.shared_width = 0;
  plan.expert_width = 5;
  EXPECT_THROW(convert("{type: llama_moe, split: sharing_inner}", plan, {dense}), UserError);
}

}  // namespace
}  // namespace sy::upcycling
