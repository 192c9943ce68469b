// Shared by kernel tests: counter-based random data, the tolerance table, and comparison with an f64 reference.
#pragma once

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/types.h"

namespace sy::kernel_test {

using ElementTypes = ::testing::Types<float, bf16, double>;

// Relative bounds of one rounded result against f64: of the norm of all differences, and of the largest one.
template <class T>
struct Tolerance;
template <>
struct Tolerance<float> {
  static constexpr double kNorm = 1e-6, kMax = 1e-5;
};
template <>
struct Tolerance<bf16> {
  static constexpr double kNorm = 4e-3, kMax = 2e-2;
};
template <>
struct Tolerance<double> {
  static constexpr double kNorm = 1e-14, kMax = 1e-13;
};

template <class T>
T from_double(double value) {
  if constexpr (std::is_same_v<T, bf16>) return bf16(static_cast<float>(value));
  else return static_cast<T>(value);
}
template <class T>
double to_double(T value) {
  if constexpr (std::is_same_v<T, bf16>) return static_cast<double>(static_cast<float>(value));
  else return static_cast<double>(value);
}

// Uniform in [-scale, scale), rounded to T; a function of (seed, index).
template <class T>
std::vector<T> random_vector(int64_t count, uint64_t seed, double scale = 1.0) {
  std::vector<T> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    uint64_t z = seed * 0x9e3779b97f4a7c15ull + i + 1;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    out[i] = from_double<T>((static_cast<double>(z >> 11) * 0x1p-52 - 1.0) * scale);
  }
  return out;
}

template <class T>
std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) out[i] = to_double(values[i]);
  return out;
}

// Both the norm of the differences and the largest one, relative to the reference's; `Rounded` names the least precise
// type on the way to `got`.
template <class Rounded, class T>
void expect_close(const std::vector<T>& got, const std::vector<double>& want, const char* what, double slack = 1.0) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double error = 0, norm = 0, worst = 0, largest = 0;
  size_t worst_at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::fabs(to_double(got[i]) - want[i]);
    ASSERT_TRUE(std::isfinite(difference))
        << what << " at " << i << ": got " << to_double(got[i]) << ", want " << want[i];
    error += difference * difference;
    norm += want[i] * want[i];
    largest = std::max(largest, std::fabs(want[i]));
    if (difference > worst) worst = difference, worst_at = i;
  }
  EXPECT_LE(std::sqrt(error), slack * Tolerance<Rounded>::kNorm * std::sqrt(norm)) << what;
  EXPECT_LE(worst, slack * Tolerance<Rounded>::kMax * largest) << what << " at " << worst_at << " of " << got.size();
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Runs f with the given number of OpenMP threads.
template <class F>
auto with_threads(int threads, F&& f) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  auto result = f();
  omp_set_num_threads(before);
  return result;
}

}  // namespace sy::kernel_test
