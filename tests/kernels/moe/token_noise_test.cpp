// Input jitter against its formula, and shards of the tokens against the whole micro-batch.
#include "kernels/moe/token_noise.h"

#include <gtest/gtest.h>

#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using namespace sy::test;

constexpr int64_t kLength = 6, kColumns = 5;
const std::vector<int64_t> kSamples = {1000, 4, 77};
constexpr int64_t kTokens = 3 * kLength;

StepState state_of_step_12() {
  StepState state{};
  state.step = 12;
  state.seed = 99;
  return state;
}

template <class T>
std::vector<T> jittered(const std::vector<T>& x, int64_t first_token) {
  const StepState state = state_of_step_12();
  std::vector<T> y(x.size());
  kernels::input_jitter<T>(Cpu{}, {.x = x.data(),
                                   .y = y.data(),
                                   .sample_id = kSamples.data(),
                                   .state = &state,
                                   .tokens = static_cast<int64_t>(x.size()) / kColumns,
                                   .columns = kColumns,
                                   .seq_length = kLength,
                                   .first_token = first_token,
                                   .layer = 3,
                                   .epsilon = 0.25});
  return y;
}

template <class T>
class InputJitterTest : public testing::Test {};
using ElementTypes = testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(InputJitterTest, ElementTypes);

TYPED_TEST(InputJitterTest, EachElementIsScaledByItsSamplesNumber) {
  using T = TypeParam;
  const std::vector<T> x = random_normal<T>(kTokens * kColumns, 1);
  const std::vector<T> y = jittered(x, 0);
  std::vector<double> expected;
  for (int64_t i = 0; i < kTokens * kColumns; ++i) {
    const int64_t in_sample = kLength * kColumns;
    const Philox stream = Philox::keyed(99, 12, kSamples[i / in_sample], 3, RngPurpose::kInputJitter);
    expected.push_back(static_cast<double>(static_cast<Acc<T>>(x[i])) *
                       (1 + 0.25 * (2 * stream.uniform(i % in_sample) - 1)));
  }
  expect_close(std::vector<Acc<T>>(y.begin(), y.end()), expected, tolerance<T>());
}

TYPED_TEST(InputJitterTest, AShardDrawsTheNumbersOfItsTokensInTheMicroBatch) {
  using T = TypeParam;
  const std::vector<T> x = random_normal<T>(kTokens * kColumns, 1);
  const std::vector<T> whole = jittered(x, 0);
  struct Shard {
    int64_t first, last;
  };
  // Part of a sample, the rest of it with one and a part of the next, one token, none.
  for (const auto& [first, last] : {Shard{0, 4}, Shard{4, 17}, Shard{17, 18}, Shard{9, 9}}) {
    const std::vector<T> part(x.begin() + first * kColumns, x.begin() + last * kColumns);
    const std::vector<T> expected(whole.begin() + first * kColumns, whole.begin() + last * kColumns);
    EXPECT_TRUE(same_bits(jittered(part, first), expected)) << "tokens " << first << " to " << last;
  }
}

}  // namespace
}  // namespace sy
