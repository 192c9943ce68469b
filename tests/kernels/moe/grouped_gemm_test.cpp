// Grouped products against f64 loops: empty experts, one expert with every row, ragged counts, NaN in pad rows.
#include "kernels/moe/grouped_gemm.h"

#include <limits>
#include <numeric>

#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

// Segments of the given counts, each start aligned; rows outside segments hold NaN.
struct Segments {
  std::vector<int32_t> start, count;
  int64_t rows = 0;

  Segments(std::vector<int32_t> counts, int32_t alignment) : count(std::move(counts)) {
    for (const int32_t n : count) {
      start.push_back(static_cast<int32_t>(rows));
      rows += (n + alignment - 1) / alignment * alignment;
    }
    rows += 5;  // beyond the last segment
  }
  int64_t experts() const { return static_cast<int64_t>(count.size()); }
  bool live(int64_t row) const {
    for (size_t e = 0; e < count.size(); ++e)
      if (row >= start[e] && row < start[e] + count[e]) return true;
    return false;
  }
  template <class T>
  std::vector<T> buffer(int64_t dim, uint64_t seed) const {
    std::vector<T> out = random_vector<T>(rows * dim, seed);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < dim && !live(r); ++i)
        out[static_cast<size_t>(r * dim + i)] = from_double<T>(std::numeric_limits<double>::quiet_NaN());
    return out;
  }
  // The live rows only, for comparison.
  template <class V>
  std::vector<V> packed(const std::vector<V>& values, int64_t dim) const {
    std::vector<V> out;
    for (int64_t r = 0; r < rows; ++r)
      if (live(r)) out.insert(out.end(), values.begin() + r * dim, values.begin() + (r + 1) * dim);
    return out;
  }
};

struct Case {
  std::vector<int32_t> counts;
  int32_t alignment;
  int64_t in_dim, out_dim;
};

const Case kCases[] = {{{3, 0, 17, 1}, 1, 13, 21},
                       {{0, 0, 0}, 1, 8, 8},
                       {{0, 300, 0, 0}, 128, 37, 70},
                       {{5, 64, 0, 129, 31}, 16, 40, 29},
                       {std::vector<int32_t>(70, 2), 1, 9, 33}};

template <class T>
struct Results {
  std::vector<T> y, dx;
  std::vector<Acc<T>> dw;
};

template <class T>
struct Inputs {
  std::vector<T> x, dy, w;
  std::vector<Acc<T>> dw;

  Inputs(const Case& c, const Segments& s)
      : x(s.buffer<T>(c.in_dim, 1)),
        dy(s.buffer<T>(c.out_dim, 2)),
        w(random_vector<T>(s.experts() * c.out_dim * c.in_dim, 3)),
        dw(random_vector<Acc<T>>(s.experts() * c.out_dim * c.in_dim, 4)) {}
};

template <class T>
Results<T> run(const Case& c, const Segments& s, const Inputs<T>& in) {
  const T marker = from_double<T>(-77);
  Results<T> r{std::vector<T>(static_cast<size_t>(s.rows * c.out_dim), marker),
               std::vector<T>(static_cast<size_t>(s.rows * c.in_dim), marker), in.dw};
  kernels::grouped_gemm_forward(
      Cpu{}, kernels::GroupedGemmForward<T>{in.x.data(), in.w.data(), r.y.data(), s.start.data(), s.count.data(),
                                            s.experts(), s.rows, c.in_dim, c.out_dim});
  kernels::grouped_gemm_dgrad(
      Cpu{}, kernels::GroupedGemmDgrad<T>{in.dy.data(), in.w.data(), r.dx.data(), s.start.data(), s.count.data(),
                                          s.experts(), s.rows, c.in_dim, c.out_dim});
  kernels::grouped_gemm_wgrad(
      Cpu{}, kernels::GroupedGemmWgrad<T>{in.dy.data(), in.x.data(), r.dw.data(), s.start.data(), s.count.data(),
                                          s.experts(), s.rows, c.in_dim, c.out_dim});
  return r;
}

template <class T>
class GroupedGemmTest : public ::testing::Test {};
TYPED_TEST_SUITE(GroupedGemmTest, ElementTypes);

TYPED_TEST(GroupedGemmTest, AllThreeProductsEqualF64LoopsAndNaNPadsDoNotLeak) {
  using T = TypeParam;
  for (const Case& c : kCases) {
    const Segments s(c.counts, c.alignment);
    const Inputs<T> in(c, s);
    const Results<T> got = run(c, s, in);
    std::vector<double> y(got.y.size(), -77), dx(got.dx.size(), -77), dw = widened(in.dw);
    const auto x = widened(in.x), dy = widened(in.dy), w = widened(in.w);
    for (int64_t e = 0; e < s.experts(); ++e)
      for (int64_t r = s.start[e]; r < s.start[e] + s.count[e]; ++r) {
        for (int64_t o = 0; o < c.out_dim; ++o) y[r * c.out_dim + o] = 0;
        for (int64_t i = 0; i < c.in_dim; ++i) dx[r * c.in_dim + i] = 0;
        for (int64_t o = 0; o < c.out_dim; ++o)
          for (int64_t i = 0; i < c.in_dim; ++i) {
            const int64_t at = (e * c.out_dim + o) * c.in_dim + i;
            y[r * c.out_dim + o] += x[r * c.in_dim + i] * w[at];
            dx[r * c.in_dim + i] += dy[r * c.out_dim + o] * w[at];
            dw[at] += dy[r * c.out_dim + o] * x[r * c.in_dim + i];
          }
      }
    SCOPED_TRACE(testing::Message() << "rows " << s.rows << " experts " << s.experts());
    expect_close<T>(s.packed(got.y, c.out_dim), s.packed(y, c.out_dim), "y");
    expect_close<T>(s.packed(got.dx, c.in_dim), s.packed(dx, c.in_dim), "dx");
    expect_close<Acc<T>>(got.dw, dw, "dw");
    // Pad rows: untouched or zero, nothing else.
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t o = 0; o < c.out_dim && !s.live(r); ++o) {
        const double value = to_double(got.y[r * c.out_dim + o]);
        EXPECT_TRUE(value == -77 || value == 0) << value;
      }
  }
}

TYPED_TEST(GroupedGemmTest, AnEmptyExpertLeavesItsWeightGradientToTheBit) {
  using T = TypeParam;
  const Case c{{4, 0, 9}, 1, 20, 34};
  const Segments s(c.counts, c.alignment);
  const Inputs<T> in(c, s);
  const Results<T> got = run(c, s, in);
  const int64_t matrix = c.in_dim * c.out_dim;
  EXPECT_TRUE(same_bits(std::vector<Acc<T>>(got.dw.begin() + matrix, got.dw.begin() + 2 * matrix),
                        std::vector<Acc<T>>(in.dw.begin() + matrix, in.dw.begin() + 2 * matrix)));
  EXPECT_FALSE(same_bits(got.dw, in.dw));
}

TYPED_TEST(GroupedGemmTest, BitsDoNotDependOnThreadsOrAlignment) {
  using T = TypeParam;
  const Case packed{{65, 0, 301, 7, 130}, 1, 90, 150};
  Case aligned = packed;
  aligned.alignment = 128;
  const Segments s(packed.counts, 1), wide(aligned.counts, 128);
  Inputs<T> in(packed, s), spread(aligned, wide);
  // The same live rows in both buffers.
  for (int64_t e = 0; e < s.experts(); ++e)
    for (int64_t r = 0; r < s.count[e]; ++r) {
      std::copy_n(in.x.begin() + (s.start[e] + r) * 90, 90, spread.x.begin() + (wide.start[e] + r) * 90);
      std::copy_n(in.dy.begin() + (s.start[e] + r) * 150, 150, spread.dy.begin() + (wide.start[e] + r) * 150);
    }
  const auto one = with_threads(1, [&] { return run(packed, s, in); });
  for (const int threads : {2, 3}) {
    const auto many = with_threads(threads, [&] { return run(packed, s, in); });
    EXPECT_TRUE(same_bits(one.y, many.y) && same_bits(one.dx, many.dx) && same_bits(one.dw, many.dw)) << threads;
  }
  const auto other = run(aligned, wide, spread);
  EXPECT_TRUE(same_bits(s.packed(one.y, 150), wide.packed(other.y, 150)));
  EXPECT_TRUE(same_bits(s.packed(one.dx, 90), wide.packed(other.dx, 90)));
  EXPECT_TRUE(same_bits(one.dw, other.dw));
}

}  // namespace
}  // namespace sy
