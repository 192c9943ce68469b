// gemm against f64 loops over ragged shapes, layouts and dtypes; determinism and independence of a row from its batch.
#include "kernels/dense/gemm.h"

#include <limits>

#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

template <class In, class Out>
struct Pair {
  using A = In;
  using C = Out;
};

struct Shape {
  int64_t m, n, k;
};

// An operand of `rows` x `columns` logical elements, stored transposed or not, its row stride 3 beyond the least; the
// gaps between rows hold NaN.
template <class T>
struct Matrix {
  int64_t ld;
  bool transposed;
  std::vector<T> values;

  Matrix(int64_t rows, int64_t columns, bool is_transposed, uint64_t seed) : transposed(is_transposed) {
    const int64_t stored_rows = transposed ? columns : rows, width = transposed ? rows : columns;
    ld = width + 3;
    values = random_vector<T>(stored_rows * ld, seed);
    for (int64_t r = 0; r < stored_rows; ++r)
      for (int64_t g = width; g < ld; ++g)
        values[static_cast<size_t>(r * ld + g)] = from_double<T>(std::numeric_limits<double>::quiet_NaN());
  }
  double at(int64_t row, int64_t column) const {
    return to_double(values[static_cast<size_t>(transposed ? column * ld + row : row * ld + column)]);
  }
};

template <class In, class Out>
std::vector<Out> run(const Matrix<In>& a, const Matrix<In>& b, Shape s, std::vector<Out> c, int64_t ldc,
                     bool accumulate) {
  kernels::Gemm<In, Out> args;
  args.a = a.values.data(), args.b = b.values.data(), args.c = c.data();
  args.m = s.m, args.n = s.n, args.k = s.k;
  args.lda = a.ld, args.ldb = b.ld, args.ldc = ldc;
  args.transpose_a = a.transposed, args.transpose_b = b.transposed, args.accumulate = accumulate;
  kernels::gemm(Cpu{}, args);
  return c;
}

template <class P>
class GemmTest : public ::testing::Test {};
using Pairs = ::testing::Types<Pair<float, float>, Pair<double, double>, Pair<bf16, bf16>, Pair<bf16, float>>;
TYPED_TEST_SUITE(GemmTest, Pairs);

TYPED_TEST(GemmTest, EqualsF64LoopsForRaggedShapesAndAllLayouts) {
  using In = typename TypeParam::A;
  using Out = typename TypeParam::C;
  const Shape shapes[] = {{1, 1, 1},     {0, 5, 3},      {5, 0, 3},       {7, 11, 13},   {12, 32, 16},   {13, 33, 17},
                          {64, 64, 257}, {3, 129, 1031}, {1000, 33, 801}, {251, 37, 31}, {25, 1061, 19}, {1, 97, 64}};
  for (const Shape s : shapes)
    for (int layout = 0; layout < 8; ++layout) {
      const bool accumulate = (layout & 4) != 0;
      const Matrix<In> a(s.m, s.k, (layout & 1) != 0, 11), b(s.k, s.n, (layout & 2) != 0, 12);
      const int64_t ldc = s.n + 2;
      const std::vector<Out> before = random_vector<Out>(s.m * ldc, 13);
      const std::vector<Out> got = run(a, b, s, before, ldc, accumulate);
      std::vector<double> want = widened(before);
      for (int64_t i = 0; i < s.m; ++i)
        for (int64_t j = 0; j < s.n; ++j) {
          double sum = accumulate ? want[static_cast<size_t>(i * ldc + j)] : 0.0;
          for (int64_t k = 0; k < s.k; ++k) sum += a.at(i, k) * b.at(k, j);
          want[static_cast<size_t>(i * ldc + j)] = sum;
        }
      SCOPED_TRACE(testing::Message() << s.m << "x" << s.n << "x" << s.k << " layout " << layout);
      expect_close<Out>(got, want, "c");
      for (int64_t i = 0; i < s.m; ++i)
        for (int64_t j = s.n; j < ldc; ++j)
          ASSERT_EQ(to_double(got[static_cast<size_t>(i * ldc + j)]),
                    to_double(before[static_cast<size_t>(i * ldc + j)]));
    }
}

TYPED_TEST(GemmTest, EmptySumWritesZerosOrKeepsWhatItAccumulatesOnto) {
  using In = typename TypeParam::A;
  using Out = typename TypeParam::C;
  const Shape s{5, 7, 0};
  const Matrix<In> a(s.m, s.k, false, 1), b(s.k, s.n, false, 2);
  const std::vector<Out> before = random_vector<Out>(s.m * s.n, 3);
  EXPECT_TRUE(same_bits(run(a, b, s, before, s.n, true), before));
  for (const Out value : run(a, b, s, before, s.n, false)) EXPECT_EQ(to_double(value), 0.0);
}

TYPED_TEST(GemmTest, BitsDoNotDependOnTheNumberOfThreads) {
  using In = typename TypeParam::A;
  using Out = typename TypeParam::C;
  const Shape s{157, 211, 613};
  for (int layout = 0; layout < 4; ++layout) {
    const Matrix<In> a(s.m, s.k, (layout & 1) != 0, 21), b(s.k, s.n, (layout & 2) != 0, 22);
    const std::vector<Out> c(static_cast<size_t>(s.m * s.n));
    const auto one = with_threads(1, [&] { return run(a, b, s, c, s.n, false); });
    for (const int threads : {2, 3, 5})
      EXPECT_TRUE(same_bits(one, with_threads(threads, [&] { return run(a, b, s, c, s.n, false); }))) << threads;
  }
}

TYPED_TEST(GemmTest, BitsOfARowDoNotDependOnTheRowsAroundIt) {
  using In = typename TypeParam::A;
  using Out = typename TypeParam::C;
  const Shape s{61, 75, 700};
  const Matrix<In> a(s.m, s.k, false, 31), b(s.k, s.n, true, 32);
  const std::vector<Out> all = run(a, b, s, std::vector<Out>(static_cast<size_t>(s.m * s.n)), s.n, false);
  for (const int64_t row : {0, 11, 12, 37, 60}) {
    Matrix<In> alone = a;
    alone.values.assign(a.values.begin() + row * a.ld, a.values.begin() + (row + 1) * a.ld);
    const auto one = run(alone, b, Shape{1, s.n, s.k}, std::vector<Out>(static_cast<size_t>(s.n)), s.n, false);
    EXPECT_TRUE(same_bits(one, std::vector<Out>(all.begin() + row * s.n, all.begin() + (row + 1) * s.n))) << row;
  }
}

TYPED_TEST(GemmTest, ANaNReachesItsOwnRowOnly) {
  using In = typename TypeParam::A;
  using Out = typename TypeParam::C;
  const Shape s{29, 41, 50};
  Matrix<In> a(s.m, s.k, false, 41);
  const Matrix<In> b(s.k, s.n, false, 42);
  a.values[static_cast<size_t>(17 * a.ld + 9)] = from_double<In>(std::numeric_limits<double>::quiet_NaN());
  const auto c = run(a, b, s, std::vector<Out>(static_cast<size_t>(s.m * s.n)), s.n, false);
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) EXPECT_EQ(std::isnan(to_double(c[static_cast<size_t>(i * s.n + j)])), i == 17);
}

}  // namespace
}  // namespace sy
