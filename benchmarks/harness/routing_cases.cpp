#include "benchmarks/harness/routing_cases.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/moe/index_build.h"
#include "kernels/philox.h"

namespace sy::bench {

namespace {

constexpr double kHotShare = 0.3;

}  // namespace

std::vector<double> popularity(const std::string& routing, int64_t experts, int64_t k) {
  std::vector<double> p(static_cast<std::size_t>(experts), 1.0);
  if (routing == "zipf") {
    for (std::size_t e = 0; e < p.size(); ++e) p[e] = 1.0 / static_cast<double>(e + 1);
  } else if (routing == "empty") {
    const int64_t left = std::max(k, experts - std::max<int64_t>(1, experts / 4));
    std::fill(p.begin() + left, p.end(), 0.0);
  } else if (std::find(kRoutings.begin(), kRoutings.end(), routing) == kRoutings.end()) {
    user_error("unknown routing '{}': use one of {}", routing, fmt::join(kRoutings, ", "));
  }
  return p;
}

std::vector<int32_t> draw_experts(const std::string& routing, int64_t tokens, int64_t experts, int64_t k,
                                  uint64_t seed) {
  if (k > experts) user_error("{} different experts per token of {}", k, experts);
  const std::vector<double> p = popularity(routing, experts, k);
  const Philox stream = Philox::keyed(seed, 0, 0, 0, RngPurpose::kTest);
  std::vector<int32_t> drawn(static_cast<std::size_t>(tokens * k));
  const double hot_tokens = std::min(1.0, kHotShare * static_cast<double>(k));
#pragma omp parallel for
  for (int64_t t = 0; t < tokens; ++t) {
    int32_t* mine = drawn.data() + t * k;
    if (routing == "uniform") {
      for (int64_t j = 0; j < k; ++j) mine[j] = static_cast<int32_t>((t * k + j) % experts);
      continue;
    }
    // Gumbel's trick: the k largest of log p + noise are draws without replacement.
    std::vector<double> key(p.size());
    for (std::size_t e = 0; e < p.size(); ++e) {
      const double u = stream.uniform(static_cast<uint64_t>(t) * p.size() + e);
      key[e] = std::log(p[e]) - std::log(-std::log(u));
    }
    if (routing == "hot") {
      const double u = stream.uniform(~static_cast<uint64_t>(t));
      key[0] = u < hot_tokens ? HUGE_VAL : -HUGE_VAL;
    }
    std::vector<int32_t> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
      const double x = key[static_cast<std::size_t>(a)], y = key[static_cast<std::size_t>(b)];
      return x > y || (x == y && a < b);
    });
    std::copy_n(order.begin(), k, mine);
  }
  return drawn;
}

int64_t Routing::used_experts() const {
  return std::count_if(seg_count.begin(), seg_count.end(), [](int32_t c) { return c > 0; });
}
int64_t Routing::largest_segment() const { return *std::max_element(seg_count.begin(), seg_count.end()); }

Routing make_routing(Context& ctx, const std::string& routing, int64_t tokens, int64_t experts, int64_t k,
                     uint64_t seed) {
  Routing r{.name = routing, .tokens = tokens, .experts = experts, .k = k, .row_alignment = ctx.row_alignment};
  const int64_t entries = r.assignments();
  r.rows = kernels::index_build_rows(entries, experts, r.row_alignment);
  r.expert_N = draw_experts(routing, tokens, experts, k, seed);
  for (int64_t n = 0; n < entries; ++n) r.token_N.push_back(static_cast<int32_t>(n / k));
  const auto table = [](std::vector<int32_t>& v, int64_t count) {
    v.resize(static_cast<std::size_t>(count));
    return v.data();
  };
  std::vector<int32_t> row_end, token_start, token_entry;
  kernels::index_build(kernels::Cpu{}, {.token = r.token_N.data(),
                                        .expert = r.expert_N.data(),
                                        .seg_start = table(r.seg_start, experts),
                                        .seg_count = table(r.seg_count, experts),
                                        .row_end = table(row_end, 1),
                                        .row_entry = table(r.row_entry, r.rows),
                                        .row_token = table(r.row_token, r.rows),
                                        .entry_row = table(r.entry_row, entries),
                                        .token_start = table(token_start, tokens + 1),
                                        .token_entry = table(token_entry, entries),
                                        .entries = entries,
                                        .tokens = tokens,
                                        .experts = experts,
                                        .slots = experts,
                                        .rows = r.rows,
                                        .row_alignment = r.row_alignment});
  const auto upload = [&](const std::vector<int32_t>& v) {
    return ctx.from_host<int32_t>(v, {static_cast<int64_t>(v.size())}, MemoryKind::data);
  };
  r.device = {.token_N = upload(r.token_N),
              .expert_N = upload(r.expert_N),
              .seg_start = upload(r.seg_start),
              .seg_count = upload(r.seg_count),
              .row_end = upload(row_end),
              .row_token = upload(r.row_token),
              .row_entry = upload(r.row_entry),
              .entry_row = upload(r.entry_row),
              .token_start = upload(token_start),
              .token_entry = upload(token_entry)};
  return r;
}

}  // namespace sy::bench
