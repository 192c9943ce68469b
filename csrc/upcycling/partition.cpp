#include "csrc/upcycling/partition.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace sy::upcycling {

namespace {

struct Pair {
  double cost;
  int64_t neuron, expert;
};

// Each neuron to one expert: pairs by rising cost, of equal ones the first, while the expert has room.
Partition assign(std::vector<Pair> pairs, int64_t neurons, int64_t experts) {
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.cost < b.cost; });
  Partition parts(static_cast<size_t>(experts));
  std::vector<bool> placed(static_cast<size_t>(neurons), false);
  for (const Pair& p : pairs) {
    auto& part = parts[static_cast<size_t>(p.expert)];
    if (placed[static_cast<size_t>(p.neuron)] || std::ssize(part) == neurons / experts) continue;
    placed[static_cast<size_t>(p.neuron)] = true;
    part.push_back(p.neuron);
  }
  for (auto& part : parts) std::sort(part.begin(), part.end());
  return parts;
}

}  // namespace

Partition random_partition(int64_t neurons, int64_t experts, const Stream& stream) {
  const std::vector<int64_t> order = stream.permutation(neurons);
  const int64_t room = neurons / experts;
  Partition parts;
  for (int64_t e = 0; e < experts; ++e) parts.emplace_back(order.begin() + e * room, order.begin() + (e + 1) * room);
  return parts;
}

std::vector<double> unit_rows(const std::vector<double>& rows_FD, int64_t columns) {
  std::vector<double> unit = rows_FD;
  for (auto row = unit.begin(); row != unit.end(); row += columns) {
    const double norm = std::sqrt(std::inner_product(row, row + columns, row, 0.0));
    if (norm > 0) std::transform(row, row + columns, row, [&](double w) { return w / norm; });
  }
  return unit;
}

Partition balanced_kmeans(const std::vector<double>& rows_FD, int64_t columns, int64_t experts, int64_t iterations,
                          const Stream& stream) {
  const int64_t rows = std::ssize(rows_FD) / columns;
  std::vector<double> centre_ED;
  for (const int64_t i : stream.choose(experts, rows))
    centre_ED.insert(centre_ED.end(), rows_FD.begin() + i * columns, rows_FD.begin() + (i + 1) * columns);
  Partition members;
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    std::vector<Pair> pairs;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t e = 0; e < experts; ++e)
        pairs.push_back({std::transform_reduce(rows_FD.begin() + i * columns, rows_FD.begin() + (i + 1) * columns,
                                               centre_ED.begin() + e * columns, 0.0, std::plus<>(),
                                               [](double a, double b) { return (a - b) * (a - b); }),
                         i, e});
    Partition next = assign(std::move(pairs), rows, experts);
    if (next == members) break;
    members = std::move(next);
    std::fill(centre_ED.begin(), centre_ED.end(), 0.0);
    for (int64_t e = 0; e < experts; ++e)
      for (const int64_t i : members[static_cast<size_t>(e)])
        for (int64_t j = 0; j < columns; ++j)
          centre_ED[static_cast<size_t>(e * columns + j)] +=
              rows_FD[static_cast<size_t>(i * columns + j)] / static_cast<double>(rows / experts);
  }
  return members;
}

Partition heavy_parts(const std::vector<double>& weight_FF, int64_t neurons, int64_t experts, int64_t passes,
                      const Stream& stream) {
  const auto width = static_cast<size_t>(neurons), count = static_cast<size_t>(experts);
  std::vector<size_t> part_F(width);
  const Partition start = random_partition(neurons, experts, stream);
  for (size_t e = 0; e < count; ++e)
    for (const int64_t i : start[e]) part_F[static_cast<size_t>(i)] = e;
  std::vector<double> to_FE(width * count, 0.0);  // weight between a neuron and each part
  for (size_t i = 0; i < width; ++i)
    for (size_t j = 0; j < width; ++j) to_FE[i * count + part_F[j]] += weight_FF[i * width + j];
  bool changed = true;
  for (int64_t pass = 0; pass < passes && changed; ++pass) {
    changed = false;
    for (size_t i = 0; i < width; ++i)
      for (size_t j = i + 1; j < width; ++j) {
        const size_t a = part_F[i], b = part_F[j];
        if (a == b) continue;
        const double gain = to_FE[i * count + b] - to_FE[i * count + a] + to_FE[j * count + a] - to_FE[j * count + b] -
                            2 * weight_FF[i * width + j];
        if (gain <= 0) continue;
        for (size_t other = 0; other < width; ++other) {
          const double moved = weight_FF[other * width + i] - weight_FF[other * width + j];
          to_FE[other * count + a] -= moved;
          to_FE[other * count + b] += moved;
        }
        std::swap(part_F[i], part_F[j]);
        changed = true;
      }
  }
  Partition parts(count);
  for (size_t i = 0; i < width; ++i) parts[part_F[i]].push_back(static_cast<int64_t>(i));
  return parts;
}

Partition by_falling_want(const std::vector<std::vector<double>>& want_EF) {
  const int64_t experts = std::ssize(want_EF), neurons = std::ssize(want_EF.front());
  std::vector<Pair> pairs;
  for (int64_t i = 0; i < neurons; ++i)
    for (int64_t e = 0; e < experts; ++e)
      pairs.push_back({-want_EF[static_cast<size_t>(e)][static_cast<size_t>(i)], i, e});
  return assign(std::move(pairs), neurons, experts);
}

std::vector<int64_t> most_wanted(const std::vector<double>& want_F, int64_t count) {
  std::vector<int64_t> order(want_F.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return want_F[static_cast<size_t>(a)] > want_F[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace sy::upcycling
