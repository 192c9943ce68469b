#include "csrc/merging/deltas.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "csrc/core/check.h"
#include "csrc/io/file.h"
#include "kernels/philox.h"

namespace sy::merging {

namespace {

int8_t sign_of(double x) { return static_cast<int8_t>((x > 0) - (x < 0)); }

}  // namespace

std::vector<double> linear(const Vectors& v, const std::vector<double>& coefficients,
                           const std::vector<double>& base_n) {
  SY_CHECK(v.size() == coefficients.size() && !v.empty(), "{} vectors, {} coefficients", v.size(), coefficients.size());
  std::vector<double> sum = base_n.empty() ? std::vector<double>(v[0].size(), 0.0) : base_n;
  for (size_t i = 0; i < v.size(); ++i)
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += coefficients[i] * v[i][j];
  return sum;
}

Vectors deltas(const MergeSet& set) {
  Vectors tau;
  for (const std::vector<double>& input : set.inputs) tau.push_back(linear({input, set.base_n}, {1, -1}));
  return tau;
}

void trim(std::vector<double>& delta_n, double kept_share) {
  const auto kept = static_cast<std::ptrdiff_t>(std::floor(kept_share * static_cast<double>(delta_n.size())));
  std::vector<size_t> order(delta_n.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::nth_element(order.begin(), order.begin() + kept, order.end(), [&](size_t a, size_t b) {
    const double x = std::fabs(delta_n[a]), y = std::fabs(delta_n[b]);
    return x != y ? x > y : a < b;
  });
  for (auto dropped = order.begin() + kept; dropped != order.end(); ++dropped) delta_n[*dropped] = 0;
}

void drop_and_rescale(Vectors& deltas, double drop_rate, const std::string& name, uint64_t seed) {
  const uint64_t key = xxh64(name.data(), std::ssize(name));
  for (size_t i = 0; i < deltas.size(); ++i) {
    const Philox stream = Philox::keyed(seed, key, i, 0, RngPurpose::kInit);
    for (size_t j = 0; j < deltas[i].size(); ++j)
      deltas[i][j] = stream.uniform(j) < drop_rate ? 0 : deltas[i][j] / (1 - drop_rate);
  }
}

std::vector<int8_t> elected_signs(const Vectors& v) {
  const std::vector<double> sum = linear(v, std::vector<double>(v.size(), 1.0));
  std::vector<int8_t> sign_n;
  int64_t balance = 0;
  for (const double s : sum) balance += sign_n.emplace_back(sign_of(s));
  const int8_t majority = balance < 0 ? -1 : 1;
  for (int8_t& sign : sign_n)
    if (sign == 0) sign = majority;
  return sign_n;
}

std::vector<double> disjoint_merge(const Vectors& v, const std::vector<int8_t>& sign_n, Disjoint mode) {
  std::vector<double> merged(sign_n.size(), 0.0);
  for (size_t j = 0; j < sign_n.size(); ++j) {
    int64_t agreeing = 0;
    for (const std::vector<double>& tau : v)
      if (sign_of(tau[j]) == sign_n[j]) {
        merged[j] += tau[j];
        ++agreeing;
      }
    if (mode == Disjoint::kMean && agreeing > 0) merged[j] /= static_cast<double>(agreeing);
  }
  return merged;
}

}  // namespace sy::merging
