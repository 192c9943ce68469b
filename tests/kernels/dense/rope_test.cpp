// rope against f64 loops, its inverse, positions beyond the number of tokens, and what it must leave alone.
#include "kernels/dense/rope.h"

#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

std::vector<double> inverse_frequencies(int64_t half) {
  std::vector<double> out;
  for (int64_t i = 0; i < half; ++i)
    out.push_back(std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half)));
  return out;
}

template <class T>
std::vector<T> run(std::vector<T> x, const std::vector<int32_t>& position, int64_t heads, int64_t dim, int64_t ld,
                   double scale, bool inverse) {
  const auto inv_freq = inverse_frequencies(dim / 2);
  kernels::Rope<T> args;
  args.x = x.data(), args.position = position.data(), args.inv_freq = inv_freq.data();
  args.tokens = static_cast<int64_t>(position.size()), args.heads = heads, args.head_dim = dim, args.ld = ld;
  args.scale = scale, args.inverse = inverse;
  kernels::rope(Cpu{}, args);
  return x;
}

template <class T>
class RopeTest : public ::testing::Test {};
TYPED_TEST_SUITE(RopeTest, ElementTypes);

TYPED_TEST(RopeTest, EqualsF64LoopsForSharedFarAndNoPositions) {
  using T = TypeParam;
  std::vector<int32_t> shared;
  for (int32_t i = 0; i < 301; ++i) shared.push_back(i % 97);
  for (const std::vector<int32_t>& position : {shared, std::vector<int32_t>{100000, 3, 131071}, std::vector<int32_t>{}})
    for (const int64_t dim : {2, 16, 34})
      for (const bool inverse : {false, true}) {
        const int64_t heads = 3, ld = heads * dim + 7, half = dim / 2, tokens = static_cast<int64_t>(position.size());
        const auto x = random_vector<T>(tokens * ld, 1);
        const auto inv_freq = inverse_frequencies(half);
        auto want = widened(x);
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t h = 0; h < heads; ++h)
            for (int64_t i = 0; i < half; ++i) {
              const double angle = (inverse ? -1 : 1) * position[t] * inv_freq[i];
              double& a = want[t * ld + h * dim + i];
              double& b = want[t * ld + h * dim + half + i];
              const double first = a, second = b;
              a = (first * std::cos(angle) - second * std::sin(angle)) * 1.25;
              b = (second * std::cos(angle) + first * std::sin(angle)) * 1.25;
            }
        SCOPED_TRACE(testing::Message() << tokens << " tokens, dim " << dim << " inverse " << inverse);
        const auto got = run(x, position, heads, dim, ld, 1.25, inverse);
        expect_close<T>(got, want, "x");
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t i = heads * dim; i < ld; ++i) ASSERT_EQ(to_double(got[t * ld + i]), to_double(x[t * ld + i]));
      }
}

TYPED_TEST(RopeTest, BitsDependNeitherOnThreadsNorOnTheTokensAround) {
  using T = TypeParam;
  const int64_t heads = 4, dim = 32, ld = heads * dim;
  std::vector<int32_t> position;
  for (int32_t i = 0; i < 400; ++i) position.push_back(i % 200);
  const auto x = random_vector<T>(400 * ld, 2);
  const auto one = with_threads(1, [&] { return run(x, position, heads, dim, ld, 1.0, false); });
  EXPECT_TRUE(same_bits(one, with_threads(3, [&] { return run(x, position, heads, dim, ld, 1.0, false); })));
  const std::vector<T> row(x.begin() + 150 * ld, x.begin() + 151 * ld);  // alone: position beyond the number of tokens
  EXPECT_TRUE(same_bits(run(row, {150}, heads, dim, ld, 1.0, false),
                        std::vector<T>(one.begin() + 150 * ld, one.begin() + 151 * ld)));
}

}  // namespace
}  // namespace sy
