// AdamW: the header's formula by hand, ten steps against an f64 loop, the skip flag to the bit.
#include "kernels/optim/adamw.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "csrc/core/check.h"
#include "kernels/philox.h"

namespace sy {
namespace {

using kernels::Cpu;

template <class A>
std::vector<A> random_normal(int64_t count, uint64_t seed) {
  const Philox rng = Philox::keyed(seed, 0, 0, 0, RngPurpose::kTest);
  std::vector<A> x(count);
  for (int64_t i = 0; i < count; ++i) x[i] = static_cast<A>(rng.normal(i));
  return x;
}

// Parameters with their optimizer state, and a step over them.
template <class T>
struct Parameters {
  using A = Acc<T>;
  std::vector<A> master, m, v;
  std::vector<T> weight;

  explicit Parameters(int64_t count)
      : master(random_normal<A>(count, 1)), m(count), v(count), weight(count, static_cast<T>(A(-5))) {}

  void step(const std::vector<A>& grad, const StepState& state, double weight_decay = .1, double lr_scale = 1) {
    kernels::adamw<T>(Cpu{}, {.grad = grad.data(),
                              .master = master.data(),
                              .m = m.data(),
                              .v = v.data(),
                              .weight = weight.data(),
                              .state = &state,
                              .count = static_cast<int64_t>(master.size()),
                              .weight_decay = weight_decay,
                              .lr_scale = lr_scale});
  }
};

StepState state_of(int64_t step, double learning_rate, double clip) {
  StepState state{};
  state.step = step;
  state.learning_rate = learning_rate;
  state.clip_coefficient = clip;
  return state;
}

template <class T>
class AdamW : public ::testing::Test {};
using Types = ::testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(AdamW, Types);

TYPED_TEST(AdamW, TheFirstStepMovesEveryWeightByTheLearningRateAgainstTheSign) {
  using A = Acc<TypeParam>;
  Parameters<TypeParam> p(3);
  p.master = {1, 2, -3};
  p.step({A(.001), A(-50), A(7)}, state_of(1, .25, .5), 0);
  const double expected[3] = {.75, 2.25, -3.25};
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(p.master[i], expected[i], 1e-4) << "epsilon over the smallest gradient";
    EXPECT_EQ(static_cast<double>(p.weight[i]), static_cast<double>(static_cast<TypeParam>(p.master[i])));
  }
  EXPECT_NEAR(p.m[2], .1 * 3.5, 1e-6);
  EXPECT_NEAR(p.v[2], .05 * 3.5 * 3.5, 1e-6);
}

TYPED_TEST(AdamW, WeightDecayIsDecoupledAndScaledByTheLearningRate) {
  using A = Acc<TypeParam>;
  Parameters<TypeParam> p(1);
  p.master = {2};
  p.step({A(0)}, state_of(1, .5, 1), .25, .5);  // lr 0.25, decay 0.0625
  EXPECT_EQ(p.master[0], A(2 * (1 - .0625)));
  EXPECT_EQ(p.m[0], 0);
}

TYPED_TEST(AdamW, TenStepsFollowAnF64Loop) {
  using T = TypeParam;
  using A = Acc<T>;
  constexpr int64_t N = 1003;
  constexpr double kBeta1 = .9, kBeta2 = .95, kEpsilon = 1e-8, kDecay = .1, kLrScale = .5;
  Parameters<T> p(N);
  std::vector<double> w(p.master.begin(), p.master.end()), m(N), v(N);
  for (int step = 1; step <= 10; ++step) {
    const double lr = 1e-2 / step, clip = step % 3 ? 1 : .3;
    const std::vector<A> grad = random_normal<A>(N, 100 + step);
    p.step(grad, state_of(step, lr, clip), kDecay, kLrScale);
    for (int64_t i = 0; i < N; ++i) {
      const double g = static_cast<double>(grad[i]) * clip;
      m[i] = kBeta1 * m[i] + (1 - kBeta1) * g;
      v[i] = kBeta2 * v[i] + (1 - kBeta2) * g * g;
      w[i] *= 1 - lr * kLrScale * kDecay;
      w[i] -= lr * kLrScale * (m[i] / (1 - std::pow(kBeta1, step))) /
              (std::sqrt(v[i] / (1 - std::pow(kBeta2, step))) + kEpsilon);
    }
  }
  // f32: ten roundings of a weight of order one, and of moments whose first steps may cancel.
  const double tolerance = sizeof(A) == 4 ? 2e-6 : 1e-14;
  for (int64_t i = 0; i < N; ++i) {
    ASSERT_NEAR(p.master[i], w[i], tolerance * std::max(1., std::abs(w[i]))) << i;
    ASSERT_NEAR(p.m[i], m[i], tolerance);
    ASSERT_NEAR(p.v[i], v[i], tolerance);
    ASSERT_EQ(static_cast<double>(p.weight[i]), static_cast<double>(static_cast<T>(p.master[i])));
  }
}

TYPED_TEST(AdamW, ASkippedStepLeavesEveryBitAlone) {
  using A = Acc<TypeParam>;
  Parameters<TypeParam> p(77);
  p.m = random_normal<A>(77, 5);
  const Parameters<TypeParam> before = p;
  StepState state = state_of(3, .1, 1);
  state.skip = 1;
  std::vector<A> grad(77, std::numeric_limits<A>::quiet_NaN());
  p.step(grad, state);
  EXPECT_EQ(std::memcmp(p.master.data(), before.master.data(), 77 * sizeof(A)), 0);
  EXPECT_EQ(std::memcmp(p.m.data(), before.m.data(), 77 * sizeof(A)), 0);
  EXPECT_EQ(std::memcmp(p.v.data(), before.v.data(), 77 * sizeof(A)), 0);
  EXPECT_EQ(std::memcmp(p.weight.data(), before.weight.data(), 77 * sizeof(TypeParam)), 0);
  state.skip = 0;
  p.step(std::vector<A>(77, 1), state);
  EXPECT_NE(std::memcmp(p.master.data(), before.master.data(), 77 * sizeof(A)), 0);
}

TYPED_TEST(AdamW, BitsDoNotDependOnTheNumberOfThreads) {
  using A = Acc<TypeParam>;
  constexpr int64_t N = 100003;
  const std::vector<A> grad = random_normal<A>(N, 9);
  const int before = omp_get_max_threads();
  Parameters<TypeParam> one(N);
  omp_set_num_threads(1);
  one.step(grad, state_of(2, .1, .7));
  for (int threads : {2, 5}) {
    Parameters<TypeParam> many(N);
    omp_set_num_threads(threads);
    many.step(grad, state_of(2, .1, .7));
    EXPECT_EQ(std::memcmp(one.master.data(), many.master.data(), N * sizeof(A)), 0) << threads;
    EXPECT_EQ(std::memcmp(one.v.data(), many.v.data(), N * sizeof(A)), 0) << threads;
  }
  omp_set_num_threads(before);
}

TEST(AdamWWeight, MayBeNullOrTheMasterItselfWhenItNeedsNoRounding) {
  for (bool alias : {false, true}) {
    Parameters<float> p(64), reference(64);
    const std::vector<float> grad = random_normal<float>(64, 3);
    const StepState state = state_of(1, .1, 1);
    reference.step(grad, state, 0);
    kernels::adamw<float>(Cpu{}, {.grad = grad.data(),
                                  .master = p.master.data(),
                                  .m = p.m.data(),
                                  .v = p.v.data(),
                                  .weight = alias ? p.master.data() : nullptr,
                                  .state = &state,
                                  .count = 64});
    EXPECT_EQ(p.master, reference.master);
  }
}

TEST(AdamWWeight, MissingBf16WeightsAreAnError) {
  Parameters<bf16> p(1);
  const std::vector<float> grad(1);
  const StepState state = state_of(1, .1, 1);
  EXPECT_THROW(kernels::adamw<bf16>(Cpu{}, {.grad = grad.data(),
                                            .master = p.master.data(),
                                            .m = p.m.data(),
                                            .v = p.v.data(),
                                            .state = &state,
                                            .count = 1}),
               Error);
}

TEST(AdamWWeight, NoParametersTouchNothing) {
  const StepState state = state_of(1, .1, 1);
  kernels::AdamW<bf16> none;
  none.state = &state;
  EXPECT_NO_THROW(kernels::adamw<bf16>(Cpu{}, none));
}

}  // namespace
}  // namespace sy
