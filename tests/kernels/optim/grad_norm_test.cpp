// Gradient norm: value, accumulation and weight, detection of NaN and infinity, the clip coefficient.
#include "kernels/optim/grad_norm.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/philox.h"

namespace sy {
namespace {

using kernels::Cpu;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <class A>
std::vector<A> random_normal(int64_t count, uint64_t seed) {
  const Philox rng = Philox::keyed(seed, 0, 0, 0, RngPurpose::kTest);
  std::vector<A> x(count);
  for (int64_t i = 0; i < count; ++i) x[i] = static_cast<A>(rng.normal(i));
  return x;
}

template <class A>
double sum_squares(const std::vector<A>& x, double start = 0, double weight = 1) {
  double total = start;
  const int64_t count = static_cast<int64_t>(x.size());
  std::vector<double> partials(kernels::sum_squares_partials(count), kNaN);
  kernels::sum_squares<A>(
      Cpu{}, {.x = x.data(), .total = &total, .partials = partials.data(), .count = count, .weight = weight});
  return total;
}

StepState clip(double total, double loss, double max_norm) {
  StepState state{};
  state.skip = 7;
  state.step = 5;
  kernels::clip_coefficient(Cpu{}, {.total = &total, .loss = &loss, .state = &state, .max_norm = max_norm});
  EXPECT_EQ(state.step, 5) << "only the step's results are written";
  return state;
}

template <class A>
class SumSquares : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(SumSquares, Types);

TYPED_TEST(SumSquares, MatchesAnF64LoopAtEveryBlockBoundary) {
  for (int64_t count : {0, 1, 17, 4095, 4096, 4097, 8192, 100003}) {
    const std::vector<TypeParam> x = random_normal<TypeParam>(count, count);
    long double expected = 0;
    for (TypeParam v : x) expected += static_cast<long double>(v) * v;
    EXPECT_NEAR(sum_squares(x), static_cast<double>(expected), 1e-13 * static_cast<double>(expected)) << count;
  }
}

TYPED_TEST(SumSquares, AddsItsWeightedSumToTheTotal) {
  EXPECT_EQ(sum_squares<TypeParam>({3, 4}, 100, .5), 112.5);
  EXPECT_EQ(sum_squares<TypeParam>({}, 100, .5), 100);
}

TYPED_TEST(SumSquares, OneNaNOrInfinityAnywhereMakesTheTotalNotFinite) {
  for (double bad : {kNaN, kInf, -kInf})
    for (int64_t at : {0, 4095, 4096, 39999}) {
      std::vector<TypeParam> x = random_normal<TypeParam>(40000, 1);
      x[at] = static_cast<TypeParam>(bad);
      EXPECT_FALSE(std::isfinite(sum_squares(x))) << bad << " at " << at;
    }
}

TEST(SumSquaresF32, LargeButFiniteGradientsStayFinite) {
  EXPECT_NEAR(sum_squares<float>({1e30f, 1e30f}) / 2e60, 1, 1e-6);
}

TYPED_TEST(SumSquares, BitsDoNotDependOnTheNumberOfThreads) {
  const std::vector<TypeParam> x = random_normal<TypeParam>(200001, 2);
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const double one = sum_squares(x);
  for (int threads : {2, 3, 7}) {
    omp_set_num_threads(threads);
    EXPECT_EQ(sum_squares(x), one) << threads;
  }
  omp_set_num_threads(before);
}

TEST(ClipCoefficient, ScalesALargeNormDownToTheLimit) {
  const StepState state = clip(25, 1.5, 1);
  EXPECT_EQ(state.grad_norm_squared, 25);
  EXPECT_NEAR(state.clip_coefficient, .2, 1e-6);
  EXPECT_LT(state.clip_coefficient * 5, 1);
  EXPECT_EQ(state.skip, 0);
}

TEST(ClipCoefficient, IsOneBelowTheLimitAndWithoutALimit) {
  EXPECT_EQ(clip(25, 1, 6).clip_coefficient, 1);
  EXPECT_EQ(clip(25, 1, 0).clip_coefficient, 1);
  EXPECT_EQ(clip(25, 1, -1).clip_coefficient, 1);
  EXPECT_EQ(clip(0, 1, 1).clip_coefficient, 1);
}

TEST(ClipCoefficient, ANonFiniteGradientOrLossSkipsTheStep) {
  for (double bad : {kNaN, kInf}) {
    EXPECT_EQ(clip(bad, 1, 1).skip, 1);
    EXPECT_EQ(clip(4, bad, 1).skip, 1);
    EXPECT_EQ(clip(4, -bad, 0).skip, 1);
    EXPECT_TRUE(std::isfinite(clip(bad, 1, 1).clip_coefficient));
  }
}

}  // namespace
}  // namespace sy
