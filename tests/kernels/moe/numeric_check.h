// Checks shared by the kernel tests of this folder: random vectors, closeness, central differences, thread
// independence.
#pragma once

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/philox.h"
#include "kernels/types.h"

namespace sy::test {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <class T>
std::vector<T> random_normal(int64_t count, uint64_t seed) {
  const Philox rng = Philox::keyed(seed, 0, 0, 0, RngPurpose::kTest);
  std::vector<T> x(count);
  for (int64_t i = 0; i < count; ++i) x[i] = static_cast<T>(static_cast<Acc<T>>(rng.normal(i)));
  return x;
}

// Integers in [low, high].
inline std::vector<int32_t> random_integers(int64_t count, int32_t low, int32_t high, uint64_t seed) {
  const Philox rng = Philox::keyed(seed, 1, 0, 0, RngPurpose::kTest);
  std::vector<int32_t> x(count);
  for (int64_t i = 0; i < count; ++i) x[i] = low + static_cast<int32_t>(rng.uniform(i) * (high - low + 1));
  return x;
}

// Every element within `relative` of the largest element of `expected`.
template <class T, class U>
void expect_close(const std::vector<T>& actual, const std::vector<U>& expected, double relative) {
  ASSERT_EQ(actual.size(), expected.size());
  double largest = 0;
  for (const U& e : expected) largest = std::max(largest, std::abs(static_cast<double>(e)));
  for (size_t i = 0; i < actual.size(); ++i)
    EXPECT_NEAR(static_cast<double>(actual[i]), static_cast<double>(expected[i]), relative * largest)
        << "element " << i;
}

// Storing rounding of T, with room for a few hundred additions in Acc<T>.
template <class T>
double tolerance() {
  return sizeof(T) == 2 ? 5e-3 : sizeof(T) == 4 ? 2e-6 : 1e-13;
}

// `gradient` against central differences of `loss` in every element of x, in f64.
inline void expect_gradient(std::vector<double>& x, const std::vector<double>& gradient,
                            const std::function<double()>& loss) {
  constexpr double kStep = 1e-5;  // truncation 1e-10 and rounding 1e-11 of a loss of order one
  std::vector<double> numeric(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + kStep;
    const double above = loss();
    x[i] = at - kStep;
    numeric[i] = (above - loss()) / (2 * kStep);
    x[i] = at;
  }
  double largest = 0;
  for (double g : gradient) largest = std::max(largest, std::abs(g));
  EXPECT_GT(largest, 1e-4) << "the check says nothing about a vanishing gradient";
  expect_close(gradient, numeric, 1e-6);
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// compute() returns a vector; its bits may not depend on the number of threads.
template <class Compute>
void expect_same_with_any_number_of_threads(const Compute& compute) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = compute();
  for (int threads : {2, 3, 7}) {
    omp_set_num_threads(threads);
    EXPECT_TRUE(same_bits(one, compute())) << threads << " threads";
  }
  omp_set_num_threads(before);
}

}  // namespace sy::test
