// Row permutation: exact movement, pads and holes, gradients by central differences, every storage type.
#include "kernels/moe/gather_rows.h"

#include <gtest/gtest.h>

#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using namespace sy::test;
using Ids = std::vector<int32_t>;

// A list with a hole, a dropped entry, a token twice on one expert, a token without entries, an expert without any.
struct Case {
  Assignment list{{0, 2, 0, -1, 2, 2, 3, 0}, {1, 0, 3, -1, 0, 3, 1, 0}};
  std::vector<uint8_t> kept{1, 1, 0, 1, 1, 1, 1, 1};
  int64_t tokens = 5, dim, entries = 8;
  Index index;

  explicit Case(int64_t dim, int64_t row_alignment = 4) : dim(dim), index(list, tokens, 4, 4, row_alignment, kept) {}

  template <class T>
  std::vector<T> forward(const std::vector<T>& x, const std::vector<Acc<T>>& weight, T untouched) const {
    std::vector<T> y(index.rows * dim, untouched);
    kernels::gather_rows_forward<T>(Cpu{}, {.x = x.data(),
                                            .row_token = index.row_token.data(),
                                            .row_entry = index.row_entry.data(),
                                            .row_end = index.row_end.data(),
                                            .weight = weight.empty() ? nullptr : weight.data(),
                                            .y = y.data(),
                                            .rows = index.rows,
                                            .dim = dim});
    return y;
  }

  template <class T>
  void backward(const std::vector<T>& dy, const std::vector<T>& x, const std::vector<Acc<T>>& weight,
                std::vector<T>& dx, std::vector<Acc<T>>& dweight) const {
    dx.assign(tokens * dim, static_cast<T>(std::numeric_limits<Acc<T>>::quiet_NaN()));
    dweight.assign(entries, std::numeric_limits<Acc<T>>::quiet_NaN());
    kernels::gather_rows_backward<T>(Cpu{}, {.dy = dy.data(),
                                             .x = weight.empty() ? nullptr : x.data(),
                                             .entry_row = index.entry_row.data(),
                                             .token_start = index.token_start.data(),
                                             .token_entry = index.token_entry.data(),
                                             .weight = weight.empty() ? nullptr : weight.data(),
                                             .dx = dx.data(),
                                             .dweight = weight.empty() ? nullptr : dweight.data(),
                                             .tokens = tokens,
                                             .entries = entries,
                                             .dim = dim});
  }
};

template <class T>
class GatherRows : public ::testing::Test {};
using Types = ::testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(GatherRows, Types);

TYPED_TEST(GatherRows, MovesRowsExactlyZeroesPadsAndLeavesTheRestAlone) {
  using T = TypeParam;
  for (int64_t dim : {1, 37, 1030})
    for (int64_t alignment : {1, 128}) {
      const Case c(dim, alignment);
      const std::vector<T> x = random_normal<T>(c.tokens * dim, 1);
      const std::vector<T> y = c.forward<T>(x, {}, T(7));
      for (int64_t r = 0; r < c.index.rows; ++r)
        for (int64_t i = 0; i < dim; ++i) {
          const int32_t t = c.index.row_token[r];
          const T expected = r >= c.index.row_end[0] ? T(7) : t < 0 ? T(0) : x[t * dim + i];
          ASSERT_EQ(static_cast<double>(y[r * dim + i]), static_cast<double>(expected)) << "row " << r;
        }
    }
}

TYPED_TEST(GatherRows, WeightsScaleTheirRowsWithOneRounding) {
  using T = TypeParam;
  using A = Acc<T>;
  const Case c(67);
  const std::vector<T> x = random_normal<T>(c.tokens * c.dim, 1);
  const std::vector<A> weight = random_normal<A>(c.entries, 2);
  const std::vector<T> y = c.forward<T>(x, weight, T(7));
  for (int64_t r = 0; r < c.index.row_end[0]; ++r)
    for (int64_t i = 0; i < c.dim; ++i) {
      const int32_t t = c.index.row_token[r];
      const T expected = t < 0 ? T(0) : static_cast<T>(weight[c.index.row_entry[r]] * static_cast<A>(x[t * c.dim + i]));
      ASSERT_EQ(static_cast<double>(y[r * c.dim + i]), static_cast<double>(expected));
    }
}

TYPED_TEST(GatherRows, BackwardSumsTheRowsOfATokenAndIgnoresPads) {
  using T = TypeParam;
  using A = Acc<T>;
  for (int64_t dim : {1, 67, 1030}) {
    const Case c(dim);
    const std::vector<T> x = random_normal<T>(c.tokens * dim, 1);
    std::vector<T> dy = random_normal<T>(c.index.rows * dim, 3);
    for (int64_t r = 0; r < c.index.rows; ++r)
      if (c.index.row_token[r] < 0) std::fill_n(dy.begin() + r * dim, dim, static_cast<T>(A(kNaN)));
    const std::vector<A> drawn = random_normal<A>(c.entries, 2);
    for (bool weighted : {false, true}) {
      const std::vector<A> weight = weighted ? drawn : std::vector<A>{};
      std::vector<double> dx_expected(c.tokens * dim), dweight_expected(c.entries);
      for (int64_t n = 0; n < c.entries; ++n) {
        const int32_t row = c.index.entry_row[n], t = c.list.token[n];
        if (row < 0) continue;
        for (int64_t i = 0; i < dim; ++i) {
          const double g = static_cast<double>(dy[row * dim + i]);
          dx_expected[t * dim + i] += g * (weighted ? static_cast<double>(weight[n]) : 1.0);
          dweight_expected[n] += g * static_cast<double>(x[t * dim + i]);
        }
      }
      std::vector<T> dx;
      std::vector<A> dweight;
      c.backward(dy, x, weight, dx, dweight);
      expect_close(dx, dx_expected, tolerance<T>());
      if (!weighted) continue;
      expect_close(dweight, dweight_expected, std::max(tolerance<A>(), 1e-13));
      for (int n : {2, 3}) EXPECT_EQ(dweight[n], 0) << "dropped and hole entries are set to zero";
    }
  }
}

TEST(GatherRowsBackward, MatchesCentralDifferences) {
  const Case c(7);
  std::vector<double> x = random_normal<double>(c.tokens * c.dim, 1), weight = random_normal<double>(c.entries, 2);
  const std::vector<double> dy = random_normal<double>(c.index.rows * c.dim, 3);
  std::vector<double> dx, dweight;
  c.backward(dy, x, weight, dx, dweight);
  const auto loss = [&] { return dot(c.forward<double>(x, weight, 0), dy); };
  expect_gradient(x, dx, loss);
  expect_gradient(weight, dweight, loss);
}

TEST(GatherRows, NoTokensNoEntries) {
  const int32_t zero = 0;
  float untouched = 3;
  kernels::gather_rows_forward<float>(Cpu{}, {.row_end = &zero, .y = &untouched, .rows = 0, .dim = 4});
  kernels::gather_rows_backward<float>(Cpu{}, {.token_start = &zero, .dx = &untouched, .dim = 4});
  EXPECT_EQ(untouched, 3);
}

TEST(GatherRows, BitsDoNotDependOnTheNumberOfThreads) {
  const Case c(9000);
  const std::vector<float> x = random_normal<float>(c.tokens * c.dim, 1), weight = random_normal<float>(c.entries, 2);
  const std::vector<float> dy = random_normal<float>(c.index.rows * c.dim, 3);
  expect_same_with_any_number_of_threads([&] { return c.forward<float>(x, weight, 0); });
  expect_same_with_any_number_of_threads([&] {
    std::vector<float> dx, dweight;
    c.backward(dy, x, weight, dx, dweight);
    dx.insert(dx.end(), dweight.begin(), dweight.end());
    return dx;
  });
}

}  // namespace
}  // namespace sy
