// Learning rates against values worked out by hand.
#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace sy {
namespace {

// The rates of steps 0, 1, 2, ...
std::vector<double> rates(const Schedule& schedule, int64_t num_steps) {
  std::vector<double> result;
  for (int64_t step = 0; step < num_steps; ++step) result.push_back(learning_rate(schedule, step));
  return result;
}

void expect_rates(const Schedule& schedule, const std::vector<double>& expected) {
  const std::vector<double> got = rates(schedule, static_cast<int64_t>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-14) << "step " << i;
}

TEST(Schedule, WarmupRisesInAStraightLineAndNeverStepsAtZero) {
  expect_rates({.lr = 8, .style = LrDecayStyle::kConstant, .warmup_iters = 4, .decay_iters = 10}, {2, 4, 6, 8, 8, 8});
}

TEST(Schedule, ConstantStaysForEver) {
  const Schedule schedule = {.lr = 3, .min_lr = 1, .style = LrDecayStyle::kConstant, .decay_iters = 5};
  expect_rates(schedule, {3, 3, 3});
  EXPECT_EQ(learning_rate(schedule, 1000000), 3);
}

TEST(Schedule, LinearReachesTheMinimumAtTheLastStep) {
  // W = 2, D = 6: four steps from 10 down to 2.
  expect_rates({.lr = 10, .min_lr = 2, .style = LrDecayStyle::kLinear, .warmup_iters = 2, .decay_iters = 6},
               {5, 10, 8, 6, 4, 2, 2, 2});
}

TEST(Schedule, CosineFollowsTheHalfWave) {
  // W = 0, D = 6: cos of 30, 60, 90, 120, 150 and 180 degrees; lr = 2 and min_lr = 0 give 1 + cos.
  const double root = 0.86602540378443864676;
  expect_rates({.lr = 2, .min_lr = 0, .style = LrDecayStyle::kCosine, .decay_iters = 6},
               {1 + root, 1.5, 1, 0.5, 1 - root, 0, 0});
  // W = 1, D = 3, between 1 and 3: halfway down, then the bottom.
  expect_rates({.lr = 3, .min_lr = 1, .style = LrDecayStyle::kCosine, .warmup_iters = 1, .decay_iters = 3},
               {3, 2, 1, 1});
}

Schedule wsd(WsdDecayStyle style) {
  // W = 2, stable for steps 3 and 4, A = 4, D = 8: ratios 1/4, 1/2, 3/4, 1.
  return {.lr = 5,
          .min_lr = 1,
          .style = LrDecayStyle::kWsd,
          .warmup_iters = 2,
          .decay_iters = 8,
          .wsd_decay_iters = 4,
          .wsd_style = style};
}

TEST(Schedule, WsdIsStableThenFallsInItsStyle) {
  expect_rates(wsd(WsdDecayStyle::kLinear), {2.5, 5, 5, 5, 4, 3, 2, 1, 1});
  const double root_half = 0.70710678118654752440;
  expect_rates(wsd(WsdDecayStyle::kCosine), {2.5, 5, 5, 5, 3 + 2 * root_half, 3, 3 - 2 * root_half, 1, 1});
  // 2 (1/2)^r - 1 for r = 1/4, 1/2, 3/4, 1.
  expect_rates(wsd(WsdDecayStyle::kExponential),
               {2.5, 5, 5, 5, 1 + 4 * 0.68179283050742908606, 1 + 4 * 0.41421356237309504880,
                1 + 4 * 0.18920711500272106672, 1, 1});
  // 1 - sqrt(r): 1/2, 1 - 0.7071, 1 - 0.8660, 0.
  expect_rates(wsd(WsdDecayStyle::kMinusSqrt),
               {2.5, 5, 5, 5, 3, 1 + 4 * (1 - root_half), 1 + 4 * (1 - 0.86602540378443864676), 1, 1});
}

TEST(Schedule, WsdMayDecayFromTheEndOfTheWarmup) {
  expect_rates(
      {.lr = 4, .min_lr = 0, .style = LrDecayStyle::kWsd, .warmup_iters = 1, .decay_iters = 5, .wsd_decay_iters = 4},
      {4, 3, 2, 1, 0});
}

TEST(Schedule, DoesNotDependOnWhatWasAskedBefore) {
  const Schedule schedule = wsd(WsdDecayStyle::kMinusSqrt);
  const double once = learning_rate(schedule, 5);
  rates(schedule, 9);
  EXPECT_EQ(learning_rate(schedule, 5), once);
}

}  // namespace
}  // namespace sy
