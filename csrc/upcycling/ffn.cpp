#include "csrc/upcycling/ffn.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "csrc/core/check.h"
#include "csrc/io/file.h"

namespace sy::upcycling {

namespace {

// Streams of the three matrices of one block do not overlap.
uint64_t element(Matrix matrix, size_t index) { return (static_cast<uint64_t>(matrix) << 56) + index; }

std::span<double> weights_of(Ffn& ffn, Matrix matrix, int64_t neuron) {
  const auto width = static_cast<size_t>(ffn.hidden_size);
  return std::span(ffn.weight_FD[matrix]).subspan(static_cast<size_t>(neuron) * width, width);
}

}  // namespace

Stream::Stream(uint64_t seed, const std::string& operation, int64_t layer, int64_t expert)
    : philox_(Philox::keyed(seed, xxh64(operation.data(), std::ssize(operation)), static_cast<uint64_t>(expert),
                            static_cast<uint32_t>(layer), RngPurpose::kInit)) {}

std::vector<int64_t> Stream::permutation(int64_t count) const {
  std::vector<double> key;
  for (int64_t i = 0; i < count; ++i) key.push_back(uniform(static_cast<uint64_t>(i)));
  std::vector<int64_t> order(key.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return key[static_cast<size_t>(a)] < key[static_cast<size_t>(b)]; });
  return order;
}

std::vector<int64_t> Stream::choose(int64_t chosen, int64_t count) const {
  std::vector<int64_t> order = permutation(count);
  order.resize(static_cast<size_t>(chosen));
  std::sort(order.begin(), order.end());
  return order;
}

Ffn neurons(const Ffn& from, std::span<const int64_t> index_F) {
  Ffn result{.hidden_size = from.hidden_size, .weight_FD = {}, .origin_F = {}};
  for (const int64_t i : index_F) {
    SY_CHECK(i >= 0 && i < from.width(), "neuron {} of {}", i, from.width());
    result.origin_F.push_back(from.origin_F[static_cast<size_t>(i)]);
    for (const Matrix m : kMatrices) {
      const auto first = from.weight_FD[m].begin() + i * from.hidden_size;
      result.weight_FD[m].insert(result.weight_FD[m].end(), first, first + from.hidden_size);
    }
  }
  return result;
}

Ffn slice(const Ffn& from, int64_t begin, int64_t count) {
  std::vector<int64_t> index(static_cast<size_t>(count));
  std::iota(index.begin(), index.end(), begin);
  return neurons(from, index);
}

Normal statistics(const Ffn& ffn, Matrix matrix, std::span<const int64_t> index_S) {
  const auto count = static_cast<double>(std::ssize(index_S) * ffn.hidden_size);
  const auto sum = [&](const auto& term) {
    double total = 0;
    for (const int64_t i : index_S)
      for (int64_t j = 0; j < ffn.hidden_size; ++j)
        total += term(ffn.weight_FD[matrix][static_cast<size_t>(i * ffn.hidden_size + j)]);
    return total;
  };
  if (count < 2) return {.mean = sum([](double w) { return w; }), .std = 0};
  const double mean = sum([](double w) { return w; }) / count;
  return {.mean = mean, .std = std::sqrt(sum([&](double w) { return (w - mean) * (w - mean); }) / (count - 1))};
}

void reinitialise(Ffn& ffn, Matrix matrix, std::span<const int64_t> index_S, const Normal& normal,
                  const Stream& stream) {
  size_t drawn = 0;
  for (const int64_t i : index_S) {
    for (double& w : weights_of(ffn, matrix, i)) w = normal.mean + normal.std * stream.normal(element(matrix, drawn++));
    ffn.origin_F[static_cast<size_t>(i)] = kNew;
  }
}

void add_noise(Ffn& ffn, std::span<const int64_t> index_S, double std, const Stream& stream) {
  for (const Matrix m : kMatrices) {
    size_t drawn = 0;
    for (const int64_t i : index_S)
      for (double& w : weights_of(ffn, m, i)) w += std * stream.normal(element(m, drawn++));
  }
}

void scale(Ffn& ffn, Matrix matrix, double factor) {
  for (double& w : ffn.weight_FD[matrix]) w *= factor;
}

std::vector<double> normal_rows(int64_t experts, int64_t hidden_size, double std, const Stream& stream) {
  std::vector<double> rows;
  for (int64_t i = 0; i < experts * hidden_size; ++i) rows.push_back(std * stream.normal(static_cast<uint64_t>(i)));
  return rows;
}

std::vector<double> centred_uniform_rows(int64_t experts, int64_t hidden_size, double std, const Stream& stream) {
  std::vector<double> rows;
  for (int64_t i = 0; i < experts * hidden_size; ++i) rows.push_back(stream.uniform(static_cast<uint64_t>(i)));
  const double mean = std::accumulate(rows.begin(), rows.end(), 0.0) / static_cast<double>(rows.size());
  for (double& w : rows) w = (w - mean) * std * std::sqrt(12.0);  // a unit interval has variance 1/12
  return rows;
}

std::vector<double> repeated_rows(int64_t groups, int64_t times, int64_t hidden_size, double std,
                                  const Stream& stream) {
  const std::vector<double> distinct = normal_rows(groups, hidden_size, std, stream);
  std::vector<double> rows;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t i = 0; i < times; ++i)
      rows.insert(rows.end(), distinct.begin() + g * hidden_size, distinct.begin() + (g + 1) * hidden_size);
  return rows;
}

}  // namespace sy::upcycling
