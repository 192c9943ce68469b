// Balance losses: golden numbers of fixture F1, gradients by central differences, accumulation, degenerate inputs.
#include "kernels/moe/balance.h"

#include <gtest/gtest.h>

#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using kernels::GateWeightMode;
using kernels::ScoreLink;
using namespace sy::test;

StepState state_of(double batch_tokens) {
  StepState state{};
  state.inv_batch_tokens = 1 / batch_tokens;
  return state;
}

template <class A>
std::vector<A> fraction_of(const Assignment& list, int64_t tokens, int64_t experts, int64_t group_tokens,
                           double divisor) {
  std::vector<A> fraction(tokens / group_tokens * experts, std::numeric_limits<A>::quiet_NaN());
  kernels::assignment_fraction<A>(Cpu{}, {.token = list.token.data(),
                                          .expert = list.expert.data(),
                                          .fraction = fraction.data(),
                                          .entries = list.entries(),
                                          .tokens = tokens,
                                          .experts = experts,
                                          .group_tokens = group_tokens,
                                          .divisor = divisor});
  return fraction;
}

template <class A>
std::vector<A> importance_of(const Assignment& list, const std::vector<A>& weight, int64_t experts) {
  std::vector<A> importance(experts, std::numeric_limits<A>::quiet_NaN());
  kernels::importance_forward<A>(Cpu{}, {.expert = list.expert.data(),
                                         .weight = weight.data(),
                                         .importance = importance.data(),
                                         .entries = list.entries(),
                                         .experts = experts});
  return importance;
}

// Every loss below starts from 0; `gradient` may be null.
template <class A>
double load_balance(const std::vector<A>& P, const std::vector<A>& f, int64_t experts, int64_t group_tokens,
                    double coefficient, const StepState& state, std::vector<A>* gradient = nullptr) {
  double loss = 0;
  kernels::load_balance<A>(Cpu{}, {.probability = P.data(),
                                   .fraction = f.data(),
                                   .state = &state,
                                   .loss = &loss,
                                   .dprobability = gradient ? gradient->data() : nullptr,
                                   .tokens = static_cast<int64_t>(P.size()) / experts,
                                   .experts = experts,
                                   .group_tokens = group_tokens,
                                   .coefficient = coefficient});
  return loss;
}

template <class A>
double z_loss(const std::vector<A>& logits, int64_t experts, double coefficient, const StepState& state,
              std::vector<A>* gradient = nullptr) {
  double loss = 0;
  kernels::z_loss<A>(Cpu{}, {.logits = logits.data(),
                             .state = &state,
                             .loss = &loss,
                             .dlogits = gradient ? gradient->data() : nullptr,
                             .tokens = static_cast<int64_t>(logits.size()) / experts,
                             .experts = experts,
                             .coefficient = coefficient});
  return loss;
}

template <class A>
double entropy_loss(const std::vector<A>& P, int64_t experts, double coefficient, const StepState& state,
                    std::vector<A>* gradient = nullptr) {
  double loss = 0;
  kernels::entropy_loss<A>(Cpu{}, {.probability = P.data(),
                                   .state = &state,
                                   .loss = &loss,
                                   .dprobability = gradient ? gradient->data() : nullptr,
                                   .tokens = static_cast<int64_t>(P.size()) / experts,
                                   .experts = experts,
                                   .coefficient = coefficient});
  return loss;
}

template <class A>
double squared_cv(const std::vector<A>& values, int64_t tokens, double coefficient, const StepState& state,
                  std::vector<A>* gradient = nullptr) {
  double loss = 0;
  kernels::squared_cv<A>(Cpu{}, {.values = values.data(),
                                 .state = &state,
                                 .loss = &loss,
                                 .dvalues = gradient ? gradient->data() : nullptr,
                                 .count = static_cast<int64_t>(values.size()),
                                 .tokens = tokens,
                                 .coefficient = coefficient});
  return loss;
}

template <class A>
class Balance : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Balance, Types);

TYPED_TEST(Balance, F1HasTheGoldenLoadBalanceLosses) {
  using A = TypeParam;
  const StepState state = state_of(4);
  const std::vector<A> P = scores_of(f1_logits<A>(), 4, ScoreLink::kSoftmax);
  const Assignment top1 = topk_of(P, 4, 1), top2 = topk_of(P, 4, 2);
  EXPECT_EQ(fraction_of<A>(top1, 4, 4, 4, 1), (std::vector<A>{A(.25), A(.5), A(.25), 0}));
  EXPECT_NEAR(load_balance(P, fraction_of<A>(top1, 4, 4, 4, 1), 4, 4, 1, state), 1.281041, 1e-6);
  EXPECT_NEAR(load_balance(P, fraction_of<A>(top2, 4, 4, 4, 2), 4, 4, 1, state), 1.140521, 1e-6);
  EXPECT_NEAR(load_balance(P, fraction_of<A>(top2, 4, 4, 4, 1), 4, 4, 1, state), 2.281041, 1e-6)
      << "not dividing by k is another convention";
  EXPECT_NEAR(load_balance(std::vector<A>(16, A(.25)), std::vector<A>(4, A(.25)), 4, 4, 1, state), 1, 1e-6);
}

TYPED_TEST(Balance, F1HasTheGoldenSequenceLoss) {
  using A = TypeParam;
  const std::vector<A> s = scores_of(f1_logits<A>(), 4, ScoreLink::kSigmoid);
  const std::vector<A> P = scores_of(f1_logits<A>(), 4, ScoreLink::kNormalisedSigmoid);
  EXPECT_NEAR(load_balance(P, fraction_of<A>(topk_of(s, 4, 2), 4, 4, 4, 2), 4, 4, 1, state_of(4)), 1.042781, 1e-6);
}

TYPED_TEST(Balance, F1HasTheGoldenZLossEntropyAndSquaredCv) {
  using A = TypeParam;
  const StepState state = state_of(4);
  const std::vector<A> logits = f1_logits<A>(), P = scores_of(logits, 4, ScoreLink::kSoftmax);
  EXPECT_NEAR(z_loss(logits, 4, 1, state), 6.816655, 2e-6);
  EXPECT_NEAR(entropy_loss(P, 4, 1, state), .940033, 1e-6);
  const Assignment top2 = topk_of(P, 4, 2);
  const std::vector<A> importance = importance_of(top2, weights_of(P, 4, top2, 2, GateWeightMode::kRenormalised), 4);
  const double golden[4] = {1.108599, 1.772198, .850262, .268941};
  for (int e = 0; e < 4; ++e) EXPECT_NEAR(importance[e], golden[e], 1e-6);
  EXPECT_NEAR(squared_cv(importance, 4, 1, state), .291238, 1e-6);
  EXPECT_NEAR(squared_cv(std::vector<A>{2, 3, 2, 1}, 4, 1, state), .125, 1e-7) << "population variance";
}

TEST(LoadBalance, TheSequenceFormAddsTheLossesOfItsGroups) {
  constexpr int64_t T = 12, E = 70, K = 3;
  const std::vector<double> P = scores_of(random_normal<double>(T * E, 1), E, ScoreLink::kSoftmax);
  const Assignment list = topk_of(P, E, K);
  const std::vector<double> f = fraction_of<double>(list, T, E, 4, K);
  double expected = 0;
  for (int g = 0; g < 3; ++g) {
    const std::vector<double> rows(P.begin() + g * 4 * E, P.begin() + (g + 1) * 4 * E);
    const std::vector<double> own(f.begin() + g * E, f.begin() + (g + 1) * E);
    expected += load_balance(rows, own, E, 4, .5, state_of(T));
  }
  EXPECT_NEAR(load_balance(P, f, E, 4, .5, state_of(T)), expected, 1e-14);
  EXPECT_GT(expected, .4);
}

TEST(BalanceGradients, EveryLossMatchesCentralDifferences) {
  constexpr int64_t T = 6, E = 5;
  const StepState state = state_of(40);
  std::vector<double> logits = random_normal<double>(T * E, 1);
  std::vector<double> P = scores_of(logits, E, ScoreLink::kSoftmax);
  const std::vector<double> f = fraction_of<double>(topk_of(P, E, 2), T, E, 3, 2);
  std::vector<double> d(T * E, kNaN);
  load_balance(P, f, E, 3, .7, state, &d);
  expect_gradient(P, d, [&] { return load_balance(P, f, E, 3, .7, state); });
  z_loss(logits, E, .7, state, &d);
  expect_gradient(logits, d, [&] { return z_loss(logits, E, .7, state); });
  entropy_loss(P, E, .7, state, &d);
  expect_gradient(P, d, [&] { return entropy_loss(P, E, .7, state); });
  std::vector<double> v = {1.1, .2, 3, .7, .9}, dv(5, kNaN);
  squared_cv(v, T, .7, state, &dv);
  expect_gradient(v, dv, [&] { return squared_cv(v, T, .7, state); });
}

TEST(BalanceGradients, ThroughTheSoftmaxTheyAreThePublishedFormulas) {
  // d/dlogits of the load balance and the entropy loss, through router_scores_backward.
  const StepState state = state_of(4);
  const std::vector<double> logits = f1_logits(), P = scores_of(logits, 4, ScoreLink::kSoftmax);
  const std::vector<double> f = fraction_of<double>(topk_of(P, 4, 1), 4, 4, 4, 1);
  const auto through_softmax = [&](const std::vector<double>& dP) {
    std::vector<double> d(16);
    kernels::router_scores_backward<double>(Cpu{}, {.logits = logits.data(),
                                                    .score = P.data(),
                                                    .dscore = dP.data(),
                                                    .dlogits = d.data(),
                                                    .tokens = 4,
                                                    .experts = 4});
    return d;
  };
  std::vector<double> dP(16), balance(16), entropy(16);
  for (int t = 0; t < 4; ++t) {
    double mean_f = 0, H = 0;
    for (int e = 0; e < 4; ++e) mean_f += f[e] * P[t * 4 + e], H -= P[t * 4 + e] * std::log(P[t * 4 + e]);
    for (int e = 0; e < 4; ++e) {
      balance[t * 4 + e] = .01 * 4 / 4 * P[t * 4 + e] * (f[e] - mean_f);
      entropy[t * 4 + e] = -.01 / 4 * P[t * 4 + e] * (std::log(P[t * 4 + e]) + H);
    }
  }
  load_balance(P, f, 4, 4, .01, state, &dP);
  expect_close(through_softmax(dP), balance, 1e-13);
  entropy_loss(P, 4, .01, state, &dP);
  expect_close(through_softmax(dP), entropy, 1e-13);
}

TEST(Balance, LossesAddToWhatIsThereAndMayBeLeftOut) {
  const StepState state = state_of(4);
  const std::vector<double> P = scores_of(f1_logits(), 4, ScoreLink::kSoftmax), f(4, .25);
  double loss = 10;
  for (int i = 0; i < 2; ++i)
    kernels::load_balance<double>(Cpu{}, {.probability = P.data(),
                                          .fraction = f.data(),
                                          .state = &state,
                                          .loss = &loss,
                                          .tokens = 4,
                                          .experts = 4,
                                          .group_tokens = 4,
                                          .coefficient = 1});
  EXPECT_NEAR(loss, 12, 1e-12);
  std::vector<double> with_loss(16), without(16, kNaN);
  load_balance(P, f, 4, 4, 1, state, &with_loss);
  kernels::load_balance<double>(Cpu{}, {.fraction = f.data(),
                                        .state = &state,
                                        .dprobability = without.data(),
                                        .tokens = 4,
                                        .experts = 4,
                                        .group_tokens = 4,
                                        .coefficient = 1});
  EXPECT_EQ(without, with_loss);
}

TEST(Balance, MicroBatchesAddUpToTheWholeBatch) {
  const std::vector<double> logits = random_normal<double>(8 * 6, 3);
  const std::vector<double> first(logits.begin(), logits.begin() + 18), second(logits.begin() + 18, logits.end());
  const StepState state = state_of(8);
  EXPECT_NEAR(z_loss(first, 6, 1, state) + z_loss(second, 6, 1, state), z_loss(logits, 6, 1, state), 1e-13);
}

TEST(ZLoss, SeesAConstantShiftThatTheSoftmaxDoesNot) {
  std::vector<double> logits = f1_logits();
  const double before = z_loss(logits, 4, 1, state_of(4));
  for (double& l : logits) l += 1;
  EXPECT_GT(z_loss(logits, 4, 1, state_of(4)), before + 1);
}

TEST(ZLoss, LargeLogitsDoNotOverflow) {
  std::vector<float> d(2);
  EXPECT_NEAR(z_loss<float>({1000, -1000}, 2, 1, state_of(1), &d), 1e6, 1);
  EXPECT_NEAR(d[0], 2000, 1e-2);
  EXPECT_EQ(d[1], 0);
}

TEST(EntropyLoss, AnImpossibleExpertAddsNothingAndNaNIsNotHidden) {
  std::vector<double> d(4, kNaN);
  EXPECT_NEAR(entropy_loss<double>({.25, .75, 0, 0}, 4, 1, state_of(1), &d), std::log(4) - .75 * std::log(3), 1e-15);
  EXPECT_EQ(d[2], 0);
  EXPECT_TRUE(std::isnan(entropy_loss<double>({.5, kNaN, 0, 0}, 4, 1, state_of(1))));
}

TEST(SquaredCv, AMeanOfZeroGivesZeroAndTheShareOfTheBatchScales) {
  std::vector<double> d(4, kNaN);
  EXPECT_EQ(squared_cv<double>({1, -1, 2, -2}, 4, 1, state_of(4), &d), 0);
  EXPECT_EQ(d, std::vector<double>(4, 0));
  EXPECT_NEAR(squared_cv<double>({2, 3, 2, 1}, 4, 3, state_of(16)), 3 * .25 * .125, 1e-15);
}

TEST(AssignmentFraction, DividesByTheEntriesOfTheGroupWhenTheirNumberVaries) {
  // Group 0 has three entries, group 1 none, group 2 one; holes count nowhere.
  const Assignment list{{0, 1, 1, -1, 5, -1}, {2, 0, 2, -1, 1, -1}};
  expect_close(fraction_of<double>(list, 6, 3, 2, 0), std::vector<double>{1. / 3, 0, 2. / 3, 0, 0, 0, 0, 1, 0}, 1e-16);
  expect_close(fraction_of<double>(list, 6, 3, 2, 2), std::vector<double>{.25, 0, .5, 0, 0, 0, 0, .25, 0}, 1e-16);
}

TEST(AssignmentFraction, CountsBeyondTheIntegersOfF32) {
  // 2^24 + 2 entries on one expert of two: an f32 counter would stop at 2^24.
  constexpr int64_t N = (int64_t{1} << 24) + 2;
  Assignment list{std::vector<int32_t>(N, 0), std::vector<int32_t>(N, 1)};
  EXPECT_EQ(fraction_of<float>(list, 1, 2, 1, static_cast<double>(N))[1], 1.f);
}

TEST(Importance, HolesAreLeftOutAndTheGradientGoesBackToTheEntries) {
  const Assignment list{{0, 0, -1, 1, 2}, {2, 0, -1, 2, 2}};
  EXPECT_EQ(importance_of<double>(list, {1, 2, 100, 3, 4}, 4), (std::vector<double>{2, 0, 8, 0}));
  const std::vector<double> dimportance = {10, 20, 30, 40};
  std::vector<double> dweight(5, kNaN);
  kernels::importance_backward<double>(Cpu{}, {.expert = list.expert.data(),
                                               .dimportance = dimportance.data(),
                                               .dweight = dweight.data(),
                                               .entries = 5,
                                               .experts = 4});
  EXPECT_EQ(dweight, (std::vector<double>{30, 10, 0, 30, 30}));
}

TEST(Balance, NoTokensAddNothing) {
  const StepState state = state_of(4);
  EXPECT_EQ(load_balance<float>({}, {}, 4, 1, 1, state), 0);
  EXPECT_EQ(z_loss<float>({}, 4, 1, state), 0);
  EXPECT_EQ(entropy_loss<float>({}, 4, 1, state), 0);
  EXPECT_EQ(squared_cv<float>({}, 0, 1, state), 0);
  EXPECT_EQ(importance_of<float>({}, {}, 3), std::vector<float>(3, 0));
}

TEST(Balance, BitsDoNotDependOnTheNumberOfThreads) {
  const StepState state = state_of(3000);
  const std::vector<float> logits = random_normal<float>(3000 * 70, 4), P = scores_of(logits, 70, ScoreLink::kSoftmax);
  const std::vector<float> f = fraction_of<float>(topk_of(P, 70, 4), 3000, 70, 1000, 4);
  expect_same_with_any_number_of_threads([&] {
    return std::vector<double>{load_balance(P, f, 70, 1000, 1, state), z_loss(logits, 70, 1, state),
                               entropy_loss(P, 70, 1, state), squared_cv(P, 3000, 1, state)};
  });
}

}  // namespace
}  // namespace sy
