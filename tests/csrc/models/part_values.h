// For model tests: a parameter's values or gradients by Hugging Face name, and the comparison of such maps.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "csrc/models/decoder.h"
#include "parallel/mesh.h"
#include "trainer/whole_tensors.h"

namespace sy::testing {

// Any floating-point tensor, widened; exact for every type.
inline std::vector<double> widened(Context& ctx, const Tensor& tensor) {
  return dispatch_float(tensor.dtype(), [&]<class T>() {
    const std::vector<T> host = ctx.to_host<T>(tensor);
    std::vector<double> values;
    values.reserve(host.size());
    for (const T x : host) values.push_back(static_cast<double>(x));
    return values;
  });
}

// The exact values of a parameter that this rank owns whole.
inline Tensor exact_values(const Parameter& p) {
  if (p.bucket == nullptr || !p.bucket->master.defined()) return p.value;
  SY_CHECK(p.bucket->share_count == p.bucket->count, "several ranks share the masters of '{}'", p.name);
  return p.bucket->master.slice(p.bucket_begin, p.bucket_begin + p.value.count()).reshape(p.value.shape());
}

// What no part covers (vocabulary padding), of values or gradients.
inline std::vector<double> padding_values(Context& ctx, const Parameter& p, const Tensor& tensor) {
  const std::vector<double> whole = widened(ctx, tensor);
  std::vector<bool> covered(whole.size(), false);
  for (const ParameterPart& part : p.parts)
    std::fill_n(covered.begin() + static_cast<std::ptrdiff_t>(part.offset), part.box.count(), true);
  std::vector<double> padding;
  for (std::size_t i = 0; i < whole.size(); ++i)
    if (!covered[i]) padding.push_back(whole[i]);
  return padding;
}

// Padding rows never take part: their values and gradients stay zero. Returns how many elements that were.
inline int64_t expect_zero_padding(Context& ctx, Decoder& decoder) {
  int64_t count = 0;
  for (const Parameter& p : decoder.parameters().all())
    for (const Tensor& tensor : {p.value, p.grad})
      for (const double value : padding_values(ctx, p, tensor)) {
        EXPECT_EQ(value, 0) << p.name;
        ++count;
      }
  return count;
}

inline NamedValues parameter_values(Context& ctx, Decoder& decoder) { return whole_parameters(ctx, decoder); }
inline NamedValues gradient_values(Context& ctx, Decoder& decoder) { return whole_gradients(ctx, decoder); }

// The two errors of STYLE section 7: norm of the differences by the norm of `want`, and the largest difference by the
// largest element of `want`. Equal zeros have error 0; anything against zeros, or not finite, infinity.
struct RelativeError {
  double norm = 0, max = 0;
};
inline RelativeError relative_error(const std::vector<double>& got, const std::vector<double>& want) {
  const double infinity = std::numeric_limits<double>::infinity();
  if (got.size() != want.size()) return {infinity, infinity};
  double difference = 0, norm = 0, worst = 0, scale = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(got[i] - want[i]);
    if (!std::isfinite(d)) return {infinity, infinity};
    difference += d * d;
    norm += want[i] * want[i];
    worst = std::max(worst, d);
    scale = std::max(scale, std::abs(want[i]));
  }
  if (worst == 0) return {0, 0};
  return {std::sqrt(difference / norm), worst / scale};
}

// Every tensor of one map stands in the other and is within `bound` in both errors.
inline void expect_close(const NamedValues& got, const NamedValues& want, double bound, const std::string& what) {
  EXPECT_EQ(got.size(), want.size()) << what;
  for (const auto& [name, values] : want) {
    const auto found = got.find(name);
    if (found == got.end()) {
      ADD_FAILURE() << what << ": no '" << name << "'";
      continue;
    }
    const RelativeError error = relative_error(found->second, values);
    EXPECT_LE(error.norm, bound) << what << ": " << name << " (norm)";
    EXPECT_LE(error.max, bound) << what << ": " << name << " (largest element)";
  }
}

inline bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

inline void expect_same_bits(const NamedValues& got, const NamedValues& want, const std::string& what) {
  EXPECT_EQ(got.size(), want.size()) << what;
  for (const auto& [name, values] : want)
    EXPECT_TRUE(got.contains(name) && same_bits(got.at(name), values)) << what << ": " << name;
}

}  // namespace sy::testing
