// Weighted sum of expert rows: against a plain loop, identity for dropped entries, gradients by central differences.
#include "kernels/moe/combine.h"

#include <gtest/gtest.h>

#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using namespace sy::test;

// A list with a hole, two dropped entries, a token twice on one expert, a token without entries, an empty expert.
struct Case {
  Assignment list{{0, 2, 0, -1, 2, 2, 3, 0}, {1, 0, 3, -1, 0, 3, 1, 0}};
  std::vector<uint8_t> kept{1, 1, 0, 1, 1, 1, 0, 1};
  int64_t tokens = 5, dim, entries = 8;
  Index index;

  explicit Case(int64_t dim, int64_t row_alignment = 4) : dim(dim), index(list, tokens, 4, 4, row_alignment, kept) {}

  template <class T>
  std::vector<T> forward(const std::vector<T>& y, const std::vector<Acc<T>>& weight,
                         const std::vector<T>& identity) const {
    std::vector<T> out(tokens * dim, static_cast<T>(Acc<T>(kNaN)));
    kernels::combine_forward<T>(Cpu{}, {.y = y.data(),
                                        .weight = weight.empty() ? nullptr : weight.data(),
                                        .identity = identity.empty() ? nullptr : identity.data(),
                                        .entry_row = index.entry_row.data(),
                                        .token_start = index.token_start.data(),
                                        .token_entry = index.token_entry.data(),
                                        .out = out.data(),
                                        .tokens = tokens,
                                        .dim = dim});
    return out;
  }

  template <class T>
  struct Gradients {
    std::vector<T> dy, didentity;
    std::vector<Acc<T>> dweight;
  };

  template <class T>
  Gradients<T> backward(const std::vector<T>& dout, const std::vector<T>& y, const std::vector<Acc<T>>& weight,
                        const std::vector<T>& identity) const {
    const T nan = static_cast<T>(Acc<T>(kNaN));
    Gradients<T> g{std::vector<T>(index.rows * dim, nan), std::vector<T>(tokens * dim, nan),
                   std::vector<Acc<T>>(entries, Acc<T>(kNaN))};
    kernels::combine_backward<T>(Cpu{}, {.dout = dout.data(),
                                         .y = y.data(),
                                         .identity = identity.empty() ? nullptr : identity.data(),
                                         .weight = weight.empty() ? nullptr : weight.data(),
                                         .entry_row = index.entry_row.data(),
                                         .token_start = index.token_start.data(),
                                         .token_entry = index.token_entry.data(),
                                         .row_token = index.row_token.data(),
                                         .row_entry = index.row_entry.data(),
                                         .row_end = index.row_end.data(),
                                         .dy = g.dy.data(),
                                         .dweight = g.dweight.data(),
                                         .didentity = identity.empty() ? nullptr : g.didentity.data(),
                                         .tokens = tokens,
                                         .entries = entries,
                                         .rows = index.rows,
                                         .dim = dim});
    return g;
  }

  // y with NaN in every row that belongs to nobody.
  template <class T>
  std::vector<T> expert_rows(uint64_t seed) const {
    std::vector<T> y = random_normal<T>(index.rows * dim, seed);
    for (int64_t r = 0; r < index.rows; ++r)
      if (index.row_token[r] < 0) std::fill_n(y.begin() + r * dim, dim, static_cast<T>(Acc<T>(kNaN)));
    return y;
  }
};

template <class T>
class Combine : public ::testing::Test {};
using Types = ::testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(Combine, Types);

TYPED_TEST(Combine, MatchesAPlainLoopWithAndWithoutWeightsAndIdentity) {
  using T = TypeParam;
  using A = Acc<T>;
  for (int64_t dim : {1, 67, 1030})
    for (int64_t alignment : {1, 128})
      for (int form = 0; form < 4; ++form) {
        const Case c(dim, alignment);
        const std::vector<T> y = c.expert_rows<T>(1);
        const std::vector<A> weight = form & 1 ? random_normal<A>(c.entries, 2) : std::vector<A>{};
        const std::vector<T> identity = form & 2 ? random_normal<T>(c.tokens * dim, 3) : std::vector<T>{};
        std::vector<double> expected(c.tokens * dim);
        for (int64_t n = 0; n < c.entries; ++n) {
          const int32_t t = c.list.token[n], row = c.index.entry_row[n];
          if (t < 0 || (row < 0 && identity.empty())) continue;
          const double w = weight.empty() ? 1.0 : static_cast<double>(weight[n]);
          for (int64_t i = 0; i < dim; ++i)
            expected[t * dim + i] += w * static_cast<double>(row >= 0 ? y[row * dim + i] : identity[t * dim + i]);
        }
        const std::vector<T> out = c.forward(y, weight, identity);
        expect_close(out, expected, tolerance<T>());
        for (int64_t t : {1, 4})
          for (int64_t i = 0; i < dim; ++i)
            EXPECT_EQ(static_cast<double>(out[t * dim + i]), 0) << "a token without entries gives exactly zero";
      }
}

TYPED_TEST(Combine, BackwardMatchesAPlainLoop) {
  using T = TypeParam;
  using A = Acc<T>;
  for (int64_t dim : {1, 67, 1030})
    for (int form = 0; form < 4; ++form) {
      const Case c(dim);
      const std::vector<T> y = c.expert_rows<T>(1), dout = random_normal<T>(c.tokens * dim, 4);
      const std::vector<A> weight = form & 1 ? random_normal<A>(c.entries, 2) : std::vector<A>{};
      const std::vector<T> identity = form & 2 ? random_normal<T>(c.tokens * dim, 3) : std::vector<T>{};
      std::vector<double> dy(c.index.row_end[0] * dim), didentity(c.tokens * dim), dweight(c.entries);
      for (int64_t n = 0; n < c.entries; ++n) {
        const int32_t t = c.list.token[n], row = c.index.entry_row[n];
        if (t < 0) continue;
        const double w = weight.empty() ? 1.0 : static_cast<double>(weight[n]);
        for (int64_t i = 0; i < dim; ++i) {
          const double g = static_cast<double>(dout[t * dim + i]);
          if (row >= 0) dy[row * dim + i] = w * g;
          else didentity[t * dim + i] += w * g;
          if (row >= 0) dweight[n] += g * static_cast<double>(y[row * dim + i]);
          else if (!identity.empty()) dweight[n] += g * static_cast<double>(identity[t * dim + i]);
        }
      }
      auto g = c.backward(dout, y, weight, identity);
      g.dy.resize(dy.size());  // rows behind row_end are not written
      expect_close(g.dy, dy, tolerance<T>());
      expect_close(g.dweight, dweight, tolerance<A>());
      if (!identity.empty()) expect_close(g.didentity, didentity, tolerance<T>());
      for (int64_t r = 0; r < c.index.row_end[0]; ++r)
        if (c.index.row_token[r] < 0) {
          EXPECT_EQ(static_cast<double>(g.dy[r * dim]), 0) << "pad row " << r;
        }
    }
}

TEST(CombineBackward, MatchesCentralDifferences) {
  const Case c(7);
  std::vector<double> y = random_normal<double>(c.index.rows * c.dim, 1), weight = random_normal<double>(c.entries, 2);
  std::vector<double> identity = random_normal<double>(c.tokens * c.dim, 3);
  const std::vector<double> dout = random_normal<double>(c.tokens * c.dim, 4);
  auto g = c.backward(dout, y, weight, identity);
  std::fill(g.dy.begin() + c.index.row_end[0] * c.dim, g.dy.end(), 0);  // never written, never read
  const auto loss = [&] { return dot(c.forward(y, weight, identity), dout); };
  expect_gradient(y, g.dy, loss);
  expect_gradient(weight, g.dweight, loss);
  expect_gradient(identity, g.didentity, loss);
}

TEST(Combine, NoTokensNoEntries) {
  const int32_t zero = 0;
  float untouched = 3;
  kernels::combine_forward<float>(Cpu{}, {.token_start = &zero, .out = &untouched, .dim = 4});
  // Without rows there need be no row_end.
  kernels::combine_backward<float>(Cpu{}, {.token_start = &zero, .dy = &untouched, .dweight = &untouched, .dim = 4});
  EXPECT_EQ(untouched, 3);
}

TEST(Combine, BitsDoNotDependOnTheNumberOfThreads) {
  const Case c(9000);
  const std::vector<float> y = c.expert_rows<float>(1), weight = random_normal<float>(c.entries, 2);
  const std::vector<float> identity = random_normal<float>(c.tokens * c.dim, 3);
  const std::vector<float> dout = random_normal<float>(c.tokens * c.dim, 4);
  expect_same_with_any_number_of_threads([&] { return c.forward(y, weight, identity); });
  expect_same_with_any_number_of_threads([&] { return c.backward(dout, y, weight, identity).dweight; });
  expect_same_with_any_number_of_threads([&] { return c.backward(dout, y, weight, identity).didentity; });
}

}  // namespace
}  // namespace sy
