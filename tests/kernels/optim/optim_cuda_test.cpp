// CUDA bodies of AdamW and of the gradient norm against their CPU bodies.
#include <limits>

#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using namespace sy::test;

template <class T>
void expect_adamw_equal(int64_t count, int32_t skip, bool aliased) {
  using A = Acc<T>;
  SCOPED_TRACE(testing::Message() << count << " elements, skip " << skip);
  StepState state{};
  state.step = 3;
  state.learning_rate = 0.01;
  state.clip_coefficient = 0.5;
  state.skip = skip;
  const std::vector<A> grad = random_normal<A>(count, 1), master = random_normal<A>(count, 2);
  const std::vector<A> m = random_normal<A>(count, 3);
  std::vector<A> v = random_normal<A>(count, 4);
  for (A& x : v) x = x * x;
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    kernels::AdamW<T> args{.grad = side.in(grad),
                           .master = side.inout(master, cuda_tolerance<A>()),
                           .m = side.inout(m, cuda_tolerance<A>()),
                           .v = side.inout(v, cuda_tolerance<A>()),
                           .weight = nullptr,
                           .state = side.in(std::vector<StepState>{state}),
                           .count = count,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .epsilon = 1e-8,
                           .weight_decay = 0.1,
                           .lr_scale = 2};
    if constexpr (std::is_same_v<T, A>) args.weight = aliased ? args.master : nullptr;
    if (!aliased) args.weight = side.inout(random_normal<T>(count, 5), cuda_tolerance<T>());
    kernels::adamw<T>(backend, args);
  });
}

TEST(AdamWCuda, StepEqualsTheCpuAndASkippedStepTouchesNothing) {
  for (const int64_t count : {0, 1, 1000})
    for (const int32_t skip : {0, 1}) {
      expect_adamw_equal<float>(count, skip, false);
      expect_adamw_equal<float>(count, skip, true);
      expect_adamw_equal<bf16>(count, skip, false);
      expect_adamw_equal<double>(count, skip, true);
    }
}

template <class A>
void expect_norm_equal(int64_t count, A special, double loss, double max_norm) {
  SCOPED_TRACE(testing::Message() << count << " elements, one is " << special << ", loss " << loss);
  std::vector<A> x = random_normal<A>(count, 1);
  if (count > 0) x[count / 2] = special;
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    double* total = side.inout(std::vector<double>{0.125}, 1e-13);
    kernels::sum_squares<A>(backend, {.x = side.in(x),
                                      .total = total,
                                      .partials = side.template scratch<double>(kernels::sum_squares_partials(count)),
                                      .count = count,
                                      .weight = 0.5});
    StepState* state = side.template scratch<StepState>(1);
    kernels::clip_coefficient(
        backend, {.total = total, .loss = side.in(std::vector<double>{loss}), .state = state, .max_norm = max_norm});
    // The state seen as numbers: the fields that the kernel writes, in two pieces.
    side.compare_later(&state->grad_norm_squared, 2, 1e-13, {});
    side.compare_later(&state->skip, 1, kExact, {});
  });
}

TEST(GradNormCuda, NormClipAndSkipEqualTheCpu) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const int64_t count : {0, 1, 4096, 4097, 20000})
    for (const double max_norm : {0.0, 1.0, 1e6}) {
      expect_norm_equal<float>(count, 1.0f, 2.0, max_norm);
      expect_norm_equal<double>(count, 1.0, 2.0, max_norm);
    }
  expect_norm_equal<float>(5000, 1e30f, 2.0, 1.0);  // its square is no f32
  expect_norm_equal<float>(5000, static_cast<float>(kInf), 2.0, 1.0);
  expect_norm_equal<double>(5000, kNaN, 2.0, 1.0);
  expect_norm_equal<float>(5000, 1.0f, kNaN, 1.0);
  expect_norm_equal<float>(5000, 1.0f, kInf, 1.0);
}

}  // namespace
}  // namespace sy
