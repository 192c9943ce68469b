// CUDA bodies of the cross-entropy against their CPU bodies.
#include "kernels/loss/cross_entropy.h"

#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using namespace sy::test;

template <class T>
class CrossEntropyCuda : public testing::Test {};
using ElementTypes = testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(CrossEntropyCuda, ElementTypes);

struct Shape {
  int64_t rows, vocab, ld;
};
const std::vector<Shape> kShapes = {{0, 5, 8}, {1, 1, 1}, {7, 100, 128}, {3, 700, 700}, {40, 300, 384}};

std::vector<StepState> step_state() {
  StepState state{};
  state.inv_loss_tokens = 1.0 / 123;
  return {state};
}

TYPED_TEST(CrossEntropyCuda, LossAndGradientEqualTheCpu) {
  using T = TypeParam;
  using A = Acc<T>;
  for (const auto& [rows, vocab, ld] : kShapes)
    for (const bool with_gradient : {true, false}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << vocab);
      std::vector<A> logits = random_normal<A>(rows * ld, 1);
      for (A& l : logits) l *= 5;
      // Vocabulary padding is masked whatever it holds.
      for (int64_t i = 0; i < rows * ld; ++i)
        if (i % ld >= vocab) logits[i] = static_cast<A>(kNaN);
      // A third of the targets is ignored.
      const std::vector<int32_t> target =
          random_integers(rows, -static_cast<int32_t>(vocab) / 2, static_cast<int32_t>(vocab) - 1, 2);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        const StepState* state = side.in(step_state());
        A* loss = side.template out<A>(rows, cuda_tolerance<A>());
        kernels::cross_entropy<T>(
            backend, {.logits = side.in(logits),
                      .target = side.in(target),
                      .loss = loss,
                      .dlogits = with_gradient ? side.template out<T>(rows * ld, cuda_tolerance<T>()) : nullptr,
                      .state = with_gradient ? state : nullptr,
                      .rows = rows,
                      .vocab = vocab,
                      .ld = ld});
        for (const StepState* s : {state, static_cast<const StepState*>(nullptr)})
          kernels::sum_loss<A>(
              backend, {.loss = loss, .total = side.inout(std::vector<double>{0.5}, 1e-6), .state = s, .rows = rows});
      });
    }
}

template <class A>
void expect_in_place_gradient() {
  for (const auto& [rows, vocab, ld] : kShapes) {
    std::vector<A> logits = random_normal<A>(rows * ld, 1);
    const std::vector<int32_t> target = random_integers(rows, -1, static_cast<int32_t>(vocab) - 1, 2);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      A* both = side.inout(logits, cuda_tolerance<A>());
      kernels::cross_entropy<A>(backend, {.logits = both,
                                          .target = side.in(target),
                                          .loss = side.template out<A>(rows, cuda_tolerance<A>()),
                                          .dlogits = both,
                                          .state = side.in(step_state()),
                                          .rows = rows,
                                          .vocab = vocab,
                                          .ld = ld});
    });
  }
}

TEST(CrossEntropyCudaInPlace, TheGradientMayOverwriteTheLogits) {
  expect_in_place_gradient<float>();
  expect_in_place_gradient<double>();
}

}  // namespace
}  // namespace sy
