// Link functions: golden rows of fixture F1, gradients by central differences, extreme and missing rows.
#include "kernels/moe/router_scores.h"

#include <gtest/gtest.h>

#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using kernels::ScoreLink;
using namespace sy::test;

template <class A>
class RouterScores : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(RouterScores, Types);

TYPED_TEST(RouterScores, SoftmaxOfF1HasTheGoldenRowsAndLogSumExp) {
  using A = TypeParam;
  const std::vector<A> logits = f1_logits<A>();
  std::vector<A> score(16), lse(4);
  kernels::router_scores_forward<A>(
      Cpu{}, {.logits = logits.data(), .score = score.data(), .lse = lse.data(), .tokens = 4, .experts = 4});
  const double rows[16] = {.643914, .236883, .087144, .032059, .040316, .809776, .109591, .040316,
                           .287490, .473991, .064148, .174371, .032059, .087144, .643914, .236883};
  for (int i = 0; i < 16; ++i) EXPECT_NEAR(score[i], rows[i], 1e-6);
  const double expected_lse[4] = {2.440190, 3.210998, 2.246567, 2.440190};
  for (int t = 0; t < 4; ++t) EXPECT_NEAR(lse[t], expected_lse[t], 1e-6);
}

TYPED_TEST(RouterScores, NormalisedSigmoidOfF1HasTheGoldenColumnMeans) {
  using A = TypeParam;
  const std::vector<A> score = scores_of(f1_logits<A>(), 4, ScoreLink::kNormalisedSigmoid);
  const double expected[4] = {.239020, .298206, .250130, .212644};
  for (int e = 0; e < 4; ++e)
    EXPECT_NEAR((score[e] + score[4 + e] + score[8 + e] + score[12 + e]) / 4, expected[e], 1e-6);
}

TYPED_TEST(RouterScores, LargeLogitsNeitherOverflowNorGiveNaN) {
  using A = TypeParam;
  const std::vector<A> logits = {1e4, -1e4, 9e3, 0};
  EXPECT_EQ(scores_of(logits, 4, ScoreLink::kSoftmax), (std::vector<A>{1, 0, 0, 0}));
  EXPECT_EQ(scores_of(logits, 4, ScoreLink::kSigmoid), (std::vector<A>{1, 0, 1, A(.5)}));
  const std::vector<A> vanished(4, A(-1e4));
  EXPECT_EQ(scores_of(vanished, 4, ScoreLink::kNormalisedSigmoid), (std::vector<A>{0, 0, 0, 0}));
}

TYPED_TEST(RouterScores, AnExpertMaskedWithMinusInfinityHasProbabilityZero) {
  using A = TypeParam;
  const A inf = std::numeric_limits<A>::infinity();
  const std::vector<A> score = scores_of(std::vector<A>{0, -inf, 0, -inf}, 4, ScoreLink::kSoftmax);
  EXPECT_EQ(score, (std::vector<A>{A(.5), 0, A(.5), 0}));
}

TYPED_TEST(RouterScores, ANaNLogitSpoilsItsOwnRowOnly) {
  using A = TypeParam;
  std::vector<A> logits = f1_logits<A>();
  logits[5] = std::numeric_limits<A>::quiet_NaN();
  const std::vector<A> clean = scores_of(f1_logits<A>(), 4, ScoreLink::kSoftmax);
  const std::vector<A> score = scores_of(logits, 4, ScoreLink::kSoftmax);
  for (int i = 0; i < 16; ++i) {
    if (i / 4 == 1) EXPECT_TRUE(std::isnan(score[i])) << i;
    else EXPECT_EQ(score[i], clean[i]) << i;
  }
}

TEST(RouterScoresBackward, EveryLinkMatchesCentralDifferences) {
  constexpr int64_t T = 3, E = 70;  // more experts than 64, not a multiple of a vector
  for (ScoreLink link : {ScoreLink::kSoftmax, ScoreLink::kSigmoid, ScoreLink::kNormalisedSigmoid}) {
    std::vector<double> logits = random_normal<double>(T * E, 1);
    const std::vector<double> dscore = random_normal<double>(T * E, 2);
    const std::vector<double> score = scores_of(logits, E, link);
    std::vector<double> dlogits(T * E, kNaN);
    kernels::router_scores_backward<double>(Cpu{}, {.logits = logits.data(),
                                                    .score = score.data(),
                                                    .dscore = dscore.data(),
                                                    .dlogits = dlogits.data(),
                                                    .tokens = T,
                                                    .experts = E,
                                                    .link = link});
    SCOPED_TRACE(static_cast<int>(link));
    expect_gradient(logits, dlogits, [&] { return dot(scores_of(logits, E, link), dscore); });
  }
}

TEST(RouterScores, NoTokensTouchNothing) {
  float untouched = 3;
  kernels::router_scores_forward<float>(Cpu{}, {.score = &untouched, .lse = &untouched, .tokens = 0, .experts = 8});
  kernels::router_scores_backward<float>(Cpu{}, {.dlogits = &untouched, .tokens = 0, .experts = 8});
  EXPECT_EQ(untouched, 3);
}

TEST(RouterScores, BitsDoNotDependOnTheNumberOfThreads) {
  const std::vector<float> logits = random_normal<float>(1000 * 96, 3);
  for (ScoreLink link : {ScoreLink::kSoftmax, ScoreLink::kNormalisedSigmoid})
    expect_same_with_any_number_of_threads([&] { return scores_of(logits, 96, link); });
}

}  // namespace
}  // namespace sy
