// Combine weights: golden rows of fixture F1, holes and inactive entries, gradients by central differences.
#include "kernels/moe/gate_weight.h"

#include <gtest/gtest.h>

#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using kernels::GateWeightMode;
using kernels::ScoreLink;
using namespace sy::test;

struct Case {
  Assignment list;
  int64_t tokens, experts, per_token;
  GateWeightMode mode;
  double scale = 1;
  std::vector<uint8_t> active{};  // empty: all

  template <class A>
  std::vector<A> forward(const std::vector<A>& score) const {
    std::vector<A> weight(list.entries(), std::numeric_limits<A>::quiet_NaN());
    kernels::gate_weight_forward<A>(Cpu{}, {.score = score.data(),
                                            .token = list.token.data(),
                                            .expert = list.expert.data(),
                                            .active = active.empty() ? nullptr : active.data(),
                                            .weight = weight.data(),
                                            .entries = list.entries(),
                                            .per_token = per_token,
                                            .experts = experts,
                                            .mode = mode,
                                            .scale = scale});
    return weight;
  }

  template <class A>
  std::vector<A> backward(const std::vector<A>& score, const std::vector<A>& dweight) const {
    const Index index(list, tokens, experts, experts, 1);
    const std::vector<A> weight = forward(score);
    std::vector<A> dscore(tokens * experts, std::numeric_limits<A>::quiet_NaN());
    kernels::gate_weight_backward<A>(Cpu{}, {.score = score.data(),
                                             .weight = weight.data(),
                                             .dweight = dweight.data(),
                                             .token = list.token.data(),
                                             .expert = list.expert.data(),
                                             .active = active.empty() ? nullptr : active.data(),
                                             .token_start = index.token_start.data(),
                                             .token_entry = index.token_entry.data(),
                                             .dscore = dscore.data(),
                                             .tokens = tokens,
                                             .entries = list.entries(),
                                             .per_token = per_token,
                                             .experts = experts,
                                             .mode = mode,
                                             .scale = scale});
    return dscore;
  }
};

constexpr GateWeightMode kModes[] = {GateWeightMode::kRaw, GateWeightMode::kRenormalised, GateWeightMode::kSoftmax};

template <class A>
class GateWeight : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(GateWeight, Types);

TYPED_TEST(GateWeight, F1HasTheGoldenRenormalisedAndSigmoidWeights) {
  using A = TypeParam;
  const std::vector<A> logits = f1_logits<A>();
  const Assignment list = topk_of(logits, 4, 2);
  const double pair[8] = {.731059, .268941, .880797, .119203, .622459, .377541, .731059, .268941};
  const double sigmoid[8] = {1.366123, 1.133877, 1.414462, 1.085538, 1.319832, 1.180168, 1.366123, 1.133877};
  const auto P = scores_of(logits, 4, ScoreLink::kSoftmax), s = scores_of(logits, 4, ScoreLink::kSigmoid);
  const auto renormalised = weights_of(P, 4, list, 2, GateWeightMode::kRenormalised);
  const auto softmax = weights_of(logits, 4, list, 2, GateWeightMode::kSoftmax);
  const auto scaled = weights_of(s, 4, list, 2, GateWeightMode::kRenormalised, 2.5);
  const auto raw = weights_of(P, 4, list, 2, GateWeightMode::kRaw, 3);
  for (int n = 0; n < 8; ++n) {
    EXPECT_NEAR(renormalised[n], pair[n], 1e-6);
    EXPECT_NEAR(softmax[n], renormalised[n], 4 * std::numeric_limits<A>::epsilon());
    EXPECT_NEAR(scaled[n], sigmoid[n], 1e-6);
    EXPECT_EQ(raw[n], 3 * P[n / 2 * 4 + list.expert[n]]);
  }
}

TYPED_TEST(GateWeight, HolesAndInactiveEntriesWeighZeroAndStayOutOfTheNormalisation) {
  using A = TypeParam;
  const std::vector<A> score = {A(.5), A(.25), A(.25), A(.1), A(.2), A(.7)};
  Case c{{{0, -1, 0, 1, 1, 1, -1, -1, -1}, {0, -1, 2, 2, 1, 0, -1, -1, -1}}, 2, 3, 3, GateWeightMode::kRenormalised};
  c.active = {1, 1, 1, 1, 0, 1, 1, 0, 1};
  for (GateWeightMode mode : kModes) {
    c.mode = mode;
    const std::vector<A> w = c.forward(score);
    for (int n : {1, 4, 6, 7, 8}) EXPECT_EQ(w[n], 0) << n;
    if (mode == GateWeightMode::kRaw) {
      EXPECT_EQ(w[3], score[5]);
      continue;
    }
    EXPECT_NEAR(w[0] + w[2], 1, 1e-6);
    EXPECT_NEAR(w[3] + w[5], 1, 1e-6);
    const double expected = mode == GateWeightMode::kSoftmax ? 1 / (1 + std::exp(-.6)) : .875;
    EXPECT_NEAR(w[3], expected, 1e-6);
  }
}

TYPED_TEST(GateWeight, VanishedScoresWeighZeroInsteadOfNaN) {
  using A = TypeParam;
  const Case c{{{0, 0}, {0, 1}}, 1, 2, 2, GateWeightMode::kRenormalised};
  EXPECT_EQ(c.forward(std::vector<A>{0, 0}), (std::vector<A>{0, 0}));
}

TYPED_TEST(GateWeight, SoftmaxOfFarLogitsNeitherOverflowsNorVanishes) {
  using A = TypeParam;
  const Case c{{{0, 0, 1, 1}, {0, 1, 0, 1}}, 2, 2, 2, GateWeightMode::kSoftmax};
  EXPECT_EQ(c.forward(std::vector<A>{1000, 2000, -2000, -1000}), (std::vector<A>{0, 1, 0, 1}));
}

TEST(GateWeightBackward, EveryModeMatchesCentralDifferences) {
  constexpr int64_t T = 6, E = 70, K = 4;
  std::vector<double> score = random_normal<double>(T * E, 1);
  for (double& s : score) s = std::abs(s) + .1;  // away from a vanishing sum
  Case c{topk_of(score, E, K), T, E, K, GateWeightMode::kRaw, 2.5};
  c.list.expert[5] = c.list.token[5] = -1;                               // a hole
  for (int n = 8; n < 12; ++n) c.list.expert[n] = c.list.token[n] = -1;  // a token without experts
  c.list.expert[14] = c.list.expert[13];                                 // (token, expert) twice
  c.active.assign(T * K, 1);
  c.active[1] = c.active[17] = 0;
  const std::vector<double> dweight = random_normal<double>(T * K, 2);
  for (GateWeightMode mode : kModes) {
    SCOPED_TRACE(static_cast<int>(mode));
    c.mode = mode;
    expect_gradient(score, c.backward(score, dweight), [&] { return dot(c.forward(score), dweight); });
  }
}

TEST(GateWeightBackward, RawWeightsOfAnExpertMajorListReachTheirTokens) {
  // Expert choice: entries ordered by expert, tokens in any order and more than once.
  Case c{{{3, 0, 1, 3, -1, 2}, {0, 0, 1, 1, -1, 2}}, 4, 3, 1, GateWeightMode::kRaw, 2};
  std::vector<double> score = random_normal<double>(12, 3);
  const std::vector<double> dweight = {1, 2, 3, 4, 5, 6};
  const std::vector<double> d = c.backward(score, dweight);
  EXPECT_EQ(d, (std::vector<double>{4, 0, 0, 0, 6, 0, 0, 0, 12, 2, 8, 0}));
  EXPECT_EQ(c.forward(score)[4], 0);
}

TEST(GateWeightBackward, RenormalisedTop1PassesNoGradient) {
  const std::vector<double> score = scores_of(f1_logits(), 4, ScoreLink::kSoftmax);
  const Case c{topk_of(score, 4, 1), 4, 4, 1, GateWeightMode::kRenormalised};
  for (double d : c.backward(score, {1, 2, 3, 4})) EXPECT_NEAR(d, 0, 1e-15);
}

TEST(GateWeightBackward, AScaleOfZeroGivesZeroGradients) {
  const std::vector<double> score = scores_of(f1_logits(), 4, ScoreLink::kSoftmax);
  for (GateWeightMode mode : kModes) {
    const Case c{topk_of(score, 4, 2), 4, 4, 2, mode, 0};
    EXPECT_EQ(c.backward(score, std::vector<double>(8, 1)), std::vector<double>(16, 0));
  }
}

TEST(GateWeight, NoTokensAndAllHolesAreFine) {
  const Case none{{}, 0, 4, 2, GateWeightMode::kSoftmax};
  EXPECT_TRUE(none.forward(std::vector<float>{}).empty());
  EXPECT_TRUE(none.backward<float>({}, {}).empty());
  for (GateWeightMode mode : kModes) {
    const Case holes{{{-1, -1, -1, -1}, {-1, -1, -1, -1}}, 2, 3, 2, mode};
    const std::vector<float> score(6, 1);
    EXPECT_EQ(holes.forward(score), std::vector<float>(4, 0));
    EXPECT_EQ(holes.backward(score, std::vector<float>(4, 1)), std::vector<float>(6, 0));
  }
}

TEST(GateWeight, BitsDoNotDependOnTheNumberOfThreads) {
  const std::vector<float> logits = random_normal<float>(5000 * 20, 4), dweight = random_normal<float>(5000 * 4, 5);
  for (GateWeightMode mode : kModes) {
    const Case c{topk_of(logits, 20, 4), 5000, 20, 4, mode, 1.5};
    expect_same_with_any_number_of_threads([&] { return c.forward(logits); });
    expect_same_with_any_number_of_threads([&] { return c.backward(logits, dweight); });
  }
}

}  // namespace
}  // namespace sy
