// Every wrapper of kernels/cuda/hopper in a kernel whose result the host works out, and a whole product by the
// warp-specialised kernel that later ones are built like.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/check.cuh"
#include "tests/kernels/cuda/hopper_kernels.h"
#include "tests/kernels/cuda/tile_gemm.h"
#if defined(SY_CUDA_SIM)
#include "tests/cuda_sim/executor.h"
#endif

namespace sy::test {
namespace {

// Device memory that starts as `values` and is read back.
template <class T>
class Buffer {
 public:
  explicit Buffer(const std::vector<T>& values) : count_(values.size()) {
    CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&data_), count_ * sizeof(T)));
    CUDA_CHECK(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { cudaFree(data_); }
  T* data() { return data_; }
  std::vector<T> values() const {
    std::vector<T> host(count_);
    CUDA_CHECK(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  size_t count_;
  T* data_ = nullptr;
};

std::vector<bf16> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<bf16> v(static_cast<size_t>(count));
  for (bf16& x : v) x = bf16(normal(random));
  return v;
}

// Small whole numbers: every sum of their products is exact in f32.
std::vector<bf16> whole_numbers(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<bf16> v(static_cast<size_t>(count));
  for (bf16& x : v) x = bf16(static_cast<float>(static_cast<int>(random() % 17) - 8));
  return v;
}

class Hopper : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
#if defined(SY_CUDA_SIM)
    cuda_sim::set_schedule_seed(GetParam());
#else
    int major = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) != cudaSuccess || major != 9)
      GTEST_SKIP() << "needs compute capability 9.0";
#endif
  }
#if defined(SY_CUDA_SIM)
  void TearDown() override { cuda_sim::set_schedule_seed(before_); }

 private:
  uint64_t before_ = cuda_sim::schedule_seed();
#endif
};
#if defined(SY_CUDA_SIM)
INSTANTIATE_TEST_SUITE_P(Schedules, Hopper, testing::Values(0, 1, 11));
#else
INSTANTIATE_TEST_SUITE_P(Repetitions, Hopper, testing::Values(0, 1));
#endif

TEST_P(Hopper, BoxesAtTheEdgeOfATensorAreCopiedAndAddedInsideItOnly) {
  constexpr int kRows = 200, kColumns = 96;
  for (const auto& [row, column] : {std::pair(0, 0), std::pair(128, 64), std::pair(100, 8)})
    for (const bool add : {false, true}) {
      const auto from = whole_numbers(kRows * kColumns, 1), before = whole_numbers(kRows * kColumns, 2);
      Buffer<bf16> x(from), y(before);
      box_copy({}, {.from = x.data(),
                    .to = y.data(),
                    .rows = kRows,
                    .columns = kColumns,
                    .row = row,
                    .column = column,
                    .add = add});
      const auto after = y.values();
      for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kColumns; ++c) {
          const size_t i = static_cast<size_t>(r) * kColumns + c;
          const bool inside = r >= row && r < row + 128 && c >= column && c < column + 64;
          const float expected = !inside ? float(before[i]) : add ? from[i] + before[i] : float(from[i]);
          ASSERT_EQ(float(after[i]), expected) << r << ' ' << c;
        }
    }
}

// sum over k of a[m][k] b[n][k], for 64 x 64 operands that may be stored transposed.
float product_element(const std::vector<bf16>& a, bool a_k_major, const std::vector<bf16>& b, bool b_k_major, int m,
                      int n) {
  float sum = 0;
  for (int k = 0; k < 64; ++k)
    sum += float(a[a_k_major ? m * 64 + k : k * 64 + m]) * float(b[b_k_major ? n * 64 + k : k * 64 + n]);
  return sum;
}

TEST_P(Hopper, ProductsOfEverySwizzleAndMajornessAreExactOnWholeNumbers) {
  const auto a = whole_numbers(64 * 64, 3), b = whole_numbers(64 * 64, 4);
  for (const int span : {128, 64, 32})
    for (const bool a_k_major : {true, false})
      for (const bool b_k_major : {true, false}) {
        Buffer<bf16> x(a), y(b);
        Buffer<float> d(std::vector<float>(64 * 64, NAN));
        tile_product({}, {x.data(), y.data(), d.data(), a_k_major, b_k_major, span});
        const auto result = d.values();
        for (int m = 0; m < 64; ++m)
          for (int n = 0; n < 64; ++n)
            ASSERT_EQ(result[m * 64 + n], product_element(a, a_k_major, b, b_k_major, m, n))
                << "span " << span << " row " << m << " column " << n << " K-major " << a_k_major << b_k_major;
      }
}

TEST_P(Hopper, RowsGatheredByThreadsMultiplyLikeAMatrix) {
  const auto table = whole_numbers(100 * 64, 5), b = whole_numbers(64 * 64, 6);
  std::vector<int> rows(64);
  for (int r = 0; r < 64; ++r) rows[r] = r % 7 == 3 ? -1 : (r * 37) % 100;
  std::vector<bf16> a(64 * 64, bf16(0.0f));
  for (int r = 0; r < 64; ++r)
    for (int k = 0; k < 64 && rows[r] >= 0; ++k) a[r * 64 + k] = table[rows[r] * 64 + k];
  Buffer<bf16> x(table), y(b);
  Buffer<int> indices(rows);
  Buffer<float> d(std::vector<float>(64 * 64, NAN));
  gathered_product({}, {x.data(), indices.data(), y.data(), d.data()});
  const auto result = d.values();
  for (int m = 0; m < 64; ++m)
    for (int n = 0; n < 64; ++n)
      ASSERT_EQ(result[m * 64 + n], product_element(a, true, b, true, m, n)) << m << ' ' << n;
}

TEST_P(Hopper, MatricesAreTransposedOnTheirWayThroughRegisters) {
  const auto values = whole_numbers(32 * 8, 7);
  Buffer<bf16> x(values), y(std::vector<bf16>(32 * 8, bf16(99.0f)));
  transpose_matrices({}, x.data(), y.data());
  const auto result = y.values();
  for (int matrix = 0; matrix < 4; ++matrix)
    for (int row = 0; row < 8; ++row)
      for (int column = 0; column < 8; ++column)
        ASSERT_EQ(float(result[matrix * 64 + row * 8 + column]), float(values[matrix * 64 + column * 8 + row]));
}

TEST_P(Hopper, WarpgroupsTakeTurnsThroughNamedBarriers) {
  Buffer<int> turns(std::vector<int>(6, -1)), length(std::vector<int>{0});
  take_turns({}, turns.data(), length.data());
  EXPECT_EQ(turns.values(), (std::vector<int>{0, 1, 0, 1, 0, 1}));
}

TEST_P(Hopper, KernelsLaunchedEarlyFindWhatTheOnesBeforeThemWrote) {
  constexpr int kCount = 1000, kKernels = 6;
  std::vector<int> start(kCount), end(kCount);
  for (int i = 0; i < kCount; ++i) {
    start[i] = end[i] = i;
    for (int step = 0; step < kKernels; ++step) end[i] = 3 * end[i] + 1;
  }
  Buffer<int> values(start);
  chain_of_early_kernels({}, values.data(), kCount, kKernels);
  EXPECT_EQ(values.values(), end);
}

void check_gemm(int64_t m, int64_t n, int64_t k, int num_blocks) {
  const auto a = random_values(m * k, 8), b = random_values(n * k, 9);
  Buffer<bf16> x(a), y(b), c(std::vector<bf16>(static_cast<size_t>(m * n), bf16(NAN)));
  tile_gemm({}, {.a = x.data(), .b = y.data(), .c = c.data(), .m = m, .n = n, .k = k, .num_blocks = num_blocks});
  const auto result = c.values();
  for (int64_t row = 0; row < m; ++row)
    for (int64_t column = 0; column < n; ++column) {
      double sum = 0, magnitude = 0;
      for (int64_t i = 0; i < k; ++i) {
        const double product = double(float(a[row * k + i])) * double(float(b[column * k + i]));
        sum += product;
        magnitude += std::abs(product);
      }
      // One rounding to bf16, and f32 sums in an order that the hardware does not state.
      ASSERT_NEAR(double(float(result[row * n + column])), sum, std::abs(sum) * 0x1p-8 + magnitude * 1e-5)
          << m << 'x' << n << 'x' << k << " row " << row << " column " << column;
    }
}

TEST_P(Hopper, AWarpSpecialisedGemmEqualsF64OnRaggedShapes) {
  check_gemm(128, 128, 64, 1);
  check_gemm(1, 8, 8, 1);
  check_gemm(200, 136, 328, 1);  // four tiles by one block: the ring goes on from tile to tile
  check_gemm(130, 264, 72, 3);
}

}  // namespace
}  // namespace sy::test
