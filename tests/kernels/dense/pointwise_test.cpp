// embedding, swiglu and elementwise against f64 loops; the vectorised exp; aliases and device-side row counts.
#include <limits>

#include "kernels/cpu/simd.h"
#include "kernels/dense/elementwise.h"
#include "kernels/dense/embedding.h"
#include "kernels/dense/swiglu.h"
#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

template <class T>
class EmbeddingTest : public ::testing::Test {};
TYPED_TEST_SUITE(EmbeddingTest, ElementTypes);
template <class T>
class SwigluTest : public ::testing::Test {};
TYPED_TEST_SUITE(SwigluTest, ElementTypes);
template <class T>
class ElementwiseTest : public ::testing::Test {};
TYPED_TEST_SUITE(ElementwiseTest, ElementTypes);

TYPED_TEST(EmbeddingTest, CopiesRowsAndAddsGradientsOfRepeatedIdsInTokenOrder) {
  using T = TypeParam;
  using A = Acc<T>;
  for (const int64_t tokens : {0, 1, 700}) {
    const int64_t vocab = 13, dim = 37;
    std::vector<int32_t> id;
    for (int64_t t = 0; t < tokens; ++t) id.push_back(static_cast<int32_t>(t * t % 11));  // ids 11 and 12 never occur
    const auto table = random_vector<T>(vocab * dim, 1), dy = random_vector<T>(tokens * dim, 2);
    std::vector<T> y(static_cast<size_t>(tokens * dim));
    kernels::embedding_forward(Cpu{},
                               kernels::EmbeddingForward<T>{table.data(), id.data(), y.data(), tokens, vocab, dim});
    const auto before = random_vector<A>(vocab * dim, 3);
    std::vector<A> want = before;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t i = 0; i < dim; ++i) {
        ASSERT_EQ(to_double(y[t * dim + i]), to_double(table[id[t] * dim + i]));
        want[id[t] * dim + i] += static_cast<A>(dy[t * dim + i]);
      }
    for (const int threads : {1, 2, 3}) {
      const auto got = with_threads(threads, [&] {
        std::vector<A> dtable = before;
        kernels::embedding_backward(
            Cpu{}, kernels::EmbeddingBackward<T>{dy.data(), id.data(), dtable.data(), tokens, vocab, dim});
        return dtable;
      });
      EXPECT_TRUE(same_bits(got, want)) << tokens << " tokens, " << threads << " threads";
    }
  }
}

// Shares of 5, 4 and 4 rows; ids -1 and 13 lie in none.
TYPED_TEST(EmbeddingTest, EachShareOfTheRowsServesItsIdsAndGivesZerosForTheOthers) {
  using T = TypeParam;
  using A = Acc<T>;
  const int64_t tokens = 700, dim = 37;
  std::vector<int32_t> id;
  for (int64_t t = 0; t < tokens; ++t) id.push_back(static_cast<int32_t>(t * 7 % 15 - 1));
  struct Share {
    int64_t first, rows;
  };
  for (const auto& [first, rows] : {Share{0, 5}, Share{5, 4}, Share{9, 4}}) {
    const auto table = random_vector<T>(rows * dim, 1), dy = random_vector<T>(tokens * dim, 2);
    const auto before = random_vector<A>(rows * dim, 3);
    std::vector<T> y(static_cast<size_t>(tokens * dim), from_double<T>(-7)), want_y(y.size(), from_double<T>(0));
    std::vector<A> want = before;
    for (int64_t t = 0; t < tokens; ++t) {
      if (id[t] < first || id[t] >= first + rows) continue;
      for (int64_t i = 0; i < dim; ++i) {
        want_y[t * dim + i] = table[(id[t] - first) * dim + i];
        want[(id[t] - first) * dim + i] += static_cast<A>(dy[t * dim + i]);
      }
    }
    kernels::embedding_forward(
        Cpu{}, kernels::EmbeddingForward<T>{table.data(), id.data(), y.data(), tokens, rows, dim, first});
    EXPECT_TRUE(same_bits(y, want_y)) << "rows from " << first;
    for (const int threads : {1, 3}) {
      const auto got = with_threads(threads, [&, first = first, rows = rows] {
        std::vector<A> dtable = before;
        kernels::embedding_backward(
            Cpu{}, kernels::EmbeddingBackward<T>{dy.data(), id.data(), dtable.data(), tokens, rows, dim, first});
        return dtable;
      });
      EXPECT_TRUE(same_bits(got, want)) << "rows from " << first << ", " << threads << " threads";
    }
  }
}

TYPED_TEST(SwigluTest, ForwardAndBackwardEqualF64LoopsUpToTheDeviceSideRowCount) {
  using T = TypeParam;
  for (const int64_t rows : {0, 1, 7, 211})
    for (const int64_t width : {1, 19, 160}) {
      const int32_t row_end = static_cast<int32_t>(rows - rows / 4);
      auto h = random_vector<T>(rows * 2 * width, 1, 6.0), da = random_vector<T>(rows * width, 2);
      std::vector<double> a(static_cast<size_t>(rows * width), -7), dh(h.size(), -7);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < width; ++i) {
          if (r >= row_end) {  // dead rows: neither read nor written
            h[r * 2 * width + i] = da[r * width + i] = from_double<T>(std::numeric_limits<double>::quiet_NaN());
            continue;
          }
          const double z = to_double(h[r * 2 * width + i]), u = to_double(h[r * 2 * width + width + i]);
          const double s = 1 / (1 + std::exp(-z)), d = to_double(da[r * width + i]);
          a[r * width + i] = z * s * u;
          dh[r * 2 * width + i] = d * u * s * (1 + z * (1 - s));
          dh[r * 2 * width + width + i] = d * z * s;
        }
      std::vector<T> got_a(da.size(), from_double<T>(-7)), got_dh(h.size(), from_double<T>(-7));
      kernels::swiglu_forward(Cpu{}, kernels::SwigluForward<T>{h.data(), got_a.data(), rows, width, &row_end});
      kernels::swiglu_backward(Cpu{},
                               kernels::SwigluBackward<T>{da.data(), h.data(), got_dh.data(), rows, width, &row_end});
      expect_close<T>(got_a, a, "a");
      expect_close<T>(got_dh, dh, "dh");
    }
}

TYPED_TEST(SwigluTest, ExtremeGatesSaturateWithoutNaN) {
  using T = TypeParam;
  const std::vector<T> h{from_double<T>(-3e4), from_double<T>(3e4), from_double<T>(2), from_double<T>(2)};
  const std::vector<T> da{from_double<T>(1), from_double<T>(1)};
  std::vector<T> a(2), dh(4);
  kernels::swiglu_forward(Cpu{}, kernels::SwigluForward<T>{h.data(), a.data(), 1, 2, nullptr});
  kernels::swiglu_backward(Cpu{}, kernels::SwigluBackward<T>{da.data(), h.data(), dh.data(), 1, 2, nullptr});
  EXPECT_EQ(to_double(a[0]), 0.0);
  EXPECT_EQ(to_double(a[1]), 2 * to_double(h[1]));
  EXPECT_EQ(to_double(dh[0]), 0.0);
  EXPECT_EQ(to_double(dh[1]), 2.0);
}

TEST(ExpVec, F32IsWithinTwoTenthsOfAMillionthOverItsWholeRange) {
  constexpr int kL = kernels::cpu::kLanes<float>;
  double worst = 0;
  for (double x = -87.3; x < 88.7; x += 1.0 / 1024) {
    const float input = static_cast<float>(x);
    const double want = std::exp(static_cast<double>(input));
    const float got = kernels::cpu::exp_vec(kernels::cpu::broadcast(input))[kL - 1];
    worst = std::max(worst, std::fabs(static_cast<double>(got) - want) / want);
  }
  EXPECT_LT(worst, 2e-7);
  const auto lane = [](float x) { return kernels::cpu::exp_vec(kernels::cpu::broadcast(x))[0]; };
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(lane(-infinity), 0.0f);
  EXPECT_EQ(lane(-200.0f), 0.0f);
  EXPECT_EQ(lane(0.0f), 1.0f);
  EXPECT_EQ(lane(infinity), infinity);
  EXPECT_EQ(lane(89.0f), infinity);
  EXPECT_TRUE(std::isnan(lane(std::numeric_limits<float>::quiet_NaN())));
}

TEST(RoundToBf16, VectorsRoundAsTheScalarTypeDoes) {
  constexpr int kL = kernels::cpu::kLanes<float>;
  for (uint64_t i = 0; i < (1u << 20); ++i) {
    const uint32_t u = static_cast<uint32_t>(i * 4099 + (i << 21));
    float value;
    memcpy(&value, &u, 4);
    bf16 out[kL];
    kernels::cpu::store(out, kernels::cpu::broadcast(value));
    ASSERT_EQ(out[kL - 1].bits, bf16(value).bits) << std::hex << u;
  }
}

template <class From, class To>
void check_cast() {
  for (const int64_t count : {0, 1, 17, 40003}) {
    const auto x = random_vector<From>(count, 1, 100.0);
    const auto before = random_vector<To>(count, 2);
    for (const bool accumulate : {false, true}) {
      std::vector<To> y = before;
      kernels::cast(Cpu{}, kernels::Cast<From, To>{x.data(), y.data(), count, accumulate});
      using Sum = std::conditional_t<std::is_same_v<From, double> || std::is_same_v<To, double>, double, float>;
      for (int64_t i = 0; i < count; ++i) {
        const Sum sum =
            static_cast<Sum>(to_double(x[i])) + (accumulate ? static_cast<Sum>(to_double(before[i])) : Sum(0));
        ASSERT_EQ(to_double(y[i]), to_double(from_double<To>(static_cast<double>(sum)))) << i;
      }
    }
  }
}

TYPED_TEST(ElementwiseTest, CastRoundsOnceToEveryTypeAndAccumulates) {
  check_cast<TypeParam, float>();
  check_cast<TypeParam, bf16>();
  check_cast<TypeParam, double>();
}

TYPED_TEST(ElementwiseTest, AddMayWriteOverEitherInput) {
  using T = TypeParam;
  for (const int64_t count : {0, 1, 33, 50001}) {
    const auto a = random_vector<T>(count, 1), b = random_vector<T>(count, 2);
    std::vector<T> y(a.size()), over_a = a, over_b = b;
    kernels::add(Cpu{}, kernels::Add<T>{a.data(), b.data(), y.data(), count});
    kernels::add(Cpu{}, kernels::Add<T>{over_a.data(), b.data(), over_a.data(), count});
    kernels::add(Cpu{}, kernels::Add<T>{a.data(), over_b.data(), over_b.data(), count});
    for (int64_t i = 0; i < count; ++i) {
      const Acc<T> sum = static_cast<Acc<T>>(a[i]) + static_cast<Acc<T>>(b[i]);
      ASSERT_EQ(to_double(y[i]), to_double(static_cast<T>(sum))) << i;
    }
    EXPECT_TRUE(same_bits(y, over_a) && same_bits(y, over_b));
  }
}

TYPED_TEST(ElementwiseTest, ScaleMayWriteOverItsInput) {
  using T = TypeParam;
  for (const int64_t count : {0, 1, 33, 50001}) {
    const auto x = random_vector<T>(count, 1);
    std::vector<T> y(x.size()), over = x;
    kernels::scale(Cpu{}, kernels::Scale<T>{x.data(), y.data(), count, 0.3});
    kernels::scale(Cpu{}, kernels::Scale<T>{over.data(), over.data(), count, 0.3});
    for (int64_t i = 0; i < count; ++i)
      ASSERT_EQ(to_double(y[i]), to_double(static_cast<T>(static_cast<Acc<T>>(x[i]) * static_cast<Acc<T>>(0.3)))) << i;
    EXPECT_TRUE(same_bits(y, over));
  }
}

TYPED_TEST(ElementwiseTest, AddRowReachesEveryRow) {
  using T = TypeParam;
  for (const int64_t rows : {0, 1, 700}) {
    const int64_t columns = 53;
    const auto row = random_vector<T>(columns, 1), before = random_vector<T>(rows * columns, 2);
    std::vector<T> y = before;
    kernels::add_row(Cpu{}, kernels::AddRow<T>{row.data(), y.data(), rows, columns});
    for (int64_t i = 0; i < rows * columns; ++i) {
      const Acc<T> sum = static_cast<Acc<T>>(before[i]) + static_cast<Acc<T>>(row[i % columns]);
      ASSERT_EQ(to_double(y[i]), to_double(static_cast<T>(sum))) << i;
    }
  }
}

TYPED_TEST(ElementwiseTest, FillSetsAllAndCopyColumnsLeavesTheRestOfARow) {
  using T = TypeParam;
  std::vector<T> y(20001, from_double<T>(3));
  kernels::fill(Cpu{}, kernels::Fill<T>{y.data(), 20000, 0.5});
  EXPECT_EQ(std::count_if(y.begin(), y.end(), [](T v) { return to_double(v) == 0.5; }), 20000);
  EXPECT_EQ(to_double(y.back()), 3.0);

  const int64_t rows = 401, columns = 53, ldx = 60, ldy = 55;
  const auto x = random_vector<T>(rows * ldx, 1);
  std::vector<T> out(static_cast<size_t>(rows * ldy), from_double<T>(9));
  kernels::copy_columns(Cpu{}, kernels::CopyColumns<T>{x.data(), out.data(), rows, columns, ldx, ldy});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < ldy; ++i)
      ASSERT_EQ(to_double(out[r * ldy + i]), i < columns ? to_double(x[r * ldx + i]) : 9.0);
}

TEST(Elementwise, FillAlsoServesI32) {
  std::vector<int32_t> y(7, 1);
  kernels::fill(Cpu{}, kernels::Fill<int32_t>{y.data(), 6, -1});
  EXPECT_EQ(y, (std::vector<int32_t>{-1, -1, -1, -1, -1, -1, 1}));
}

}  // namespace
}  // namespace sy
