// cross_entropy against f64 loops: ignored targets, vocabulary padding, gradient over the logits, huge logits,
// determinism.
#include "kernels/loss/cross_entropy.h"

#include <limits>

#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

struct Case {
  int64_t rows, vocab, ld;
};
const Case kCases[] = {{0, 5, 5}, {1, 1, 1}, {3, 7, 16}, {9, 128, 128}, {37, 1031, 1152}};

std::vector<int32_t> targets(const Case& c) {
  std::vector<int32_t> out;
  for (int64_t r = 0; r < c.rows; ++r) out.push_back(r % 4 == 2 ? -1 : static_cast<int32_t>(r * 31 % c.vocab));
  return out;
}

// Pad columns hold NaN: they must reach neither the loss nor the gradient.
template <class A>
std::vector<A> random_logits(const Case& c, double scale) {
  auto logits = random_vector<A>(c.rows * c.ld, 1, scale);
  for (int64_t r = 0; r < c.rows; ++r)
    for (int64_t v = c.vocab; v < c.ld; ++v) logits[r * c.ld + v] = std::numeric_limits<A>::quiet_NaN();
  return logits;
}

StepState state_with(double inv_loss_tokens) {
  StepState state{};
  state.inv_loss_tokens = inv_loss_tokens;
  return state;
}

template <class T>
struct Results {
  std::vector<Acc<T>> loss;
  std::vector<T> dlogits;
};

template <class T>
Results<T> run(const Case& c, const std::vector<Acc<T>>& logits, const StepState& state) {
  const auto target = targets(c);
  Results<T> r{std::vector<Acc<T>>(static_cast<size_t>(c.rows)), std::vector<T>(logits.size(), from_double<T>(5))};
  kernels::cross_entropy(Cpu{}, kernels::CrossEntropy<T>{logits.data(), target.data(), r.loss.data(), r.dlogits.data(),
                                                         &state, c.rows, c.vocab, c.ld});
  return r;
}

template <class T>
class CrossEntropyTest : public ::testing::Test {};
TYPED_TEST_SUITE(CrossEntropyTest, ElementTypes);

TYPED_TEST(CrossEntropyTest, LossAndGradientEqualF64LoopsAndPadsGetZero) {
  using T = TypeParam;
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.rows << " x " << c.vocab);
    const auto logits = random_logits<Acc<T>>(c, 4.0);
    const auto target = targets(c);
    const StepState state = state_with(0.125);
    const Results<T> got = run<T>(c, logits, state);
    std::vector<double> loss(static_cast<size_t>(c.rows)), dlogits(logits.size());
    for (int64_t r = 0; r < c.rows; ++r) {
      if (target[r] < 0) continue;
      double total = 0;
      for (int64_t v = 0; v < c.vocab; ++v) total += std::exp(static_cast<double>(logits[r * c.ld + v]));
      loss[r] = std::log(total) - static_cast<double>(logits[r * c.ld + target[r]]);
      for (int64_t v = 0; v < c.vocab; ++v)
        dlogits[r * c.ld + v] =
            (std::exp(static_cast<double>(logits[r * c.ld + v])) / total - (v == target[r])) * 0.125;
    }
    expect_close<Acc<T>>(got.loss, loss, "loss");
    expect_close<T>(got.dlogits, dlogits, "dlogits");
  }
}

TYPED_TEST(CrossEntropyTest, LossAloneNeedsNoStateAndIsTheSame) {
  using T = TypeParam;
  const Case c = kCases[4];
  const auto logits = random_logits<Acc<T>>(c, 4.0);
  const auto target = targets(c);
  std::vector<Acc<T>> loss(static_cast<size_t>(c.rows));
  kernels::cross_entropy(Cpu{}, kernels::CrossEntropy<T>{logits.data(), target.data(), loss.data(), nullptr, nullptr,
                                                         c.rows, c.vocab, c.ld});
  EXPECT_TRUE(same_bits(loss, run<T>(c, logits, state_with(1)).loss));
}

TYPED_TEST(CrossEntropyTest, LogitsOfAThousandStayFinite) {
  using T = TypeParam;
  const Case c{2, 3, 3};
  const std::vector<Acc<T>> logits{1000, -1000, 999, -5000, 0, 1};
  const Results<T> got = run<T>(c, logits, state_with(1));
  EXPECT_NEAR(static_cast<double>(got.loss[0]), std::log1p(std::exp(-1.0)), 1e-4);  // f32 holds lse = 1000.3 to 6e-5
  for (const T value : got.dlogits) EXPECT_TRUE(std::isfinite(to_double(value)));
}

TYPED_TEST(CrossEntropyTest, BitsDoNotDependOnTheNumberOfThreads) {
  using T = TypeParam;
  const Case c{67, 2048, 2048};
  const auto logits = random_logits<Acc<T>>(c, 4.0);
  const auto one = with_threads(1, [&] { return run<T>(c, logits, state_with(0.5)); });
  const auto many = with_threads(3, [&] { return run<T>(c, logits, state_with(0.5)); });
  EXPECT_TRUE(same_bits(one.loss, many.loss) && same_bits(one.dlogits, many.dlogits));
}

template <class A>
class CrossEntropyAliasTest : public ::testing::Test {};
using AliasTypes = ::testing::Types<float, double>;
TYPED_TEST_SUITE(CrossEntropyAliasTest, AliasTypes);

TYPED_TEST(CrossEntropyAliasTest, TheGradientMayTakeTheLogitsPlace) {
  using A = TypeParam;
  const Case c = kCases[4];
  auto logits = random_logits<A>(c, 4.0);
  const auto target = targets(c);
  const StepState state = state_with(0.5);
  const Results<A> apart = run<A>(c, logits, state);
  std::vector<A> loss(static_cast<size_t>(c.rows));
  kernels::cross_entropy(Cpu{}, kernels::CrossEntropy<A>{logits.data(), target.data(), loss.data(), logits.data(),
                                                         &state, c.rows, c.vocab, c.ld});
  EXPECT_TRUE(same_bits(loss, apart.loss) && same_bits(logits, apart.dlogits));
}

TYPED_TEST(CrossEntropyAliasTest, SumLossAddsTheScaledOrPlainSum) {
  using A = TypeParam;
  const std::vector<A> loss{1, 2, 4};
  const StepState state = state_with(0.25);
  double total = 10;
  kernels::sum_loss(Cpu{}, kernels::SumLoss<A>{loss.data(), &total, &state, 3});
  EXPECT_EQ(total, 11.75);
  kernels::sum_loss(Cpu{}, kernels::SumLoss<A>{loss.data(), &total, nullptr, 2});
  EXPECT_EQ(total, 14.75);
  kernels::sum_loss(Cpu{}, kernels::SumLoss<A>{loss.data(), &total, nullptr, 0});
  EXPECT_EQ(total, 14.75);
}

}  // namespace
}  // namespace sy
