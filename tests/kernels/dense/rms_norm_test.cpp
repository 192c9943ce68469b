// rms_norm against f64 loops: strided rows, heads inside a wider buffer, both gradients, determinism.
#include "kernels/dense/rms_norm.h"

#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

struct Case {
  int64_t rows, groups, dim, gap;
};
const Case kCases[] = {{0, 1, 8, 0}, {1, 1, 1, 0}, {5, 1, 37, 4}, {67, 3, 16, 5}, {131, 2, 64, 0}, {300, 1, 97, 1}};

template <class T>
struct Results {
  std::vector<T> y, dx;
  std::vector<Acc<T>> rstd, dweight;
};

template <class T>
Results<T> run(const Case& c, const std::vector<T>& x, const std::vector<T>& weight, const std::vector<T>& dy,
               const std::vector<Acc<T>>& dweight) {
  const int64_t ld = c.groups * c.dim + c.gap;
  Results<T> r{std::vector<T>(x.size()), std::vector<T>(x.size()),
               std::vector<Acc<T>>(static_cast<size_t>(c.rows * c.groups)), dweight};
  kernels::RmsNormForward<T> f;
  f.x = x.data(), f.weight = weight.data(), f.y = r.y.data(), f.rstd = r.rstd.data();
  f.rows = c.rows, f.groups = c.groups, f.dim = c.dim, f.ldx = f.ldy = ld, f.epsilon = 1e-3;
  kernels::rms_norm_forward(Cpu{}, f);
  std::vector<Acc<T>> partials(static_cast<size_t>(kernels::rms_norm_backward_partials(c.rows * c.groups, c.dim)));
  kernels::RmsNormBackward<T> b;
  b.dy = dy.data(), b.x = x.data(), b.weight = weight.data(), b.rstd = r.rstd.data(), b.dx = r.dx.data();
  b.dweight = dweight.empty() ? nullptr : r.dweight.data(), b.partials = partials.data();
  b.rows = c.rows, b.groups = c.groups, b.dim = c.dim, b.lddy = b.ldx = b.lddx = ld;
  kernels::rms_norm_backward(Cpu{}, b);
  return r;
}

template <class T>
class RmsNormTest : public ::testing::Test {};
TYPED_TEST_SUITE(RmsNormTest, ElementTypes);

TYPED_TEST(RmsNormTest, ForwardAndBackwardEqualF64LoopsAndGapsStayUntouched) {
  using T = TypeParam;
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows of " << c.groups << " x " << c.dim);
    const int64_t ld = c.groups * c.dim + c.gap;
    const auto x = random_vector<T>(c.rows * ld, 1), dy = random_vector<T>(c.rows * ld, 2);
    const auto weight = random_vector<T>(c.dim, 3);
    const auto before = random_vector<Acc<T>>(c.dim, 4);
    const auto got = run(c, x, weight, dy, before);
    std::vector<double> y(x.size()), dx(x.size()), rstd, dweight = widened(before);
    for (int64_t r = 0; r < c.rows; ++r)
      for (int64_t g = 0; g < c.groups; ++g) {
        const int64_t at = r * ld + g * c.dim;
        double squares = 0, dots = 0;
        for (int64_t i = 0; i < c.dim; ++i) squares += to_double(x[at + i]) * to_double(x[at + i]);
        const double s = 1 / std::sqrt(squares / static_cast<double>(c.dim) + 1e-3);
        rstd.push_back(s);
        for (int64_t i = 0; i < c.dim; ++i) {
          const double xhat = to_double(x[at + i]) * s;
          y[at + i] = xhat * to_double(weight[i]);
          dots += to_double(dy[at + i]) * to_double(weight[i]) * xhat;
          dweight[i] += to_double(dy[at + i]) * xhat;
        }
        for (int64_t i = 0; i < c.dim; ++i)
          dx[at + i] = s * (to_double(dy[at + i]) * to_double(weight[i]) -
                            to_double(x[at + i]) * s * dots / static_cast<double>(c.dim));
      }
    expect_close<T>(got.y, y, "y");
    expect_close<T>(got.dx, dx, "dx");
    expect_close<Acc<T>>(got.rstd, rstd, "rstd");
    expect_close<Acc<T>>(got.dweight, dweight, "dweight");
  }
}

TYPED_TEST(RmsNormTest, ANullWeightGradientChangesNothingElse) {
  using T = TypeParam;
  const Case c = kCases[3];
  const int64_t ld = c.groups * c.dim + c.gap;
  const auto x = random_vector<T>(c.rows * ld, 1), dy = random_vector<T>(c.rows * ld, 2),
             weight = random_vector<T>(c.dim, 3);
  EXPECT_TRUE(same_bits(run(c, x, weight, dy, {}).dx, run(c, x, weight, dy, random_vector<Acc<T>>(c.dim, 4)).dx));
}

TYPED_TEST(RmsNormTest, BitsDoNotDependOnTheNumberOfThreads) {
  using T = TypeParam;
  const Case c{501, 1, 130, 0};
  const auto x = random_vector<T>(c.rows * c.dim, 1), dy = random_vector<T>(c.rows * c.dim, 2),
             weight = random_vector<T>(c.dim, 3);
  const auto before = random_vector<Acc<T>>(c.dim, 4);
  const auto one = with_threads(1, [&] { return run(c, x, weight, dy, before); });
  for (const int threads : {2, 3}) {
    const auto many = with_threads(threads, [&] { return run(c, x, weight, dy, before); });
    EXPECT_TRUE(same_bits(one.y, many.y) && same_bits(one.dx, many.dx) && same_bits(one.dweight, many.dweight))
        << threads;
  }
}

}  // namespace
}  // namespace sy
