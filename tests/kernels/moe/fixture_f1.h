// Fixture F1: four tokens, four experts, and the routing steps that several tests run on it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/moe/gate_weight.h"
#include "kernels/moe/index_build.h"
#include "kernels/moe/router_scores.h"
#include "kernels/moe/select.h"

namespace sy::test {

inline constexpr int64_t kF1Tokens = 4, kF1Experts = 4;

template <class A = double>
std::vector<A> f1_logits() {
  return {2, 1, 0, -1, 0, 3, 1, 0, 1, A(1.5), A(-0.5), A(0.5), -1, 0, 2, 1};
}

// An assignment list.
struct Assignment {
  std::vector<int32_t> token, expert;
  int64_t entries() const { return static_cast<int64_t>(token.size()); }
};

template <class A>
std::vector<A> scores_of(const std::vector<A>& logits, int64_t experts, kernels::ScoreLink link) {
  std::vector<A> score(logits.size());
  kernels::router_scores_forward<A>(kernels::Cpu{}, {.logits = logits.data(),
                                                     .score = score.data(),
                                                     .tokens = static_cast<int64_t>(logits.size()) / experts,
                                                     .experts = experts,
                                                     .link = link});
  return score;
}

template <class A>
Assignment topk_of(const std::vector<A>& score, int64_t experts, int64_t k, const std::vector<A>& bias = {}) {
  const int64_t tokens = static_cast<int64_t>(score.size()) / experts;
  Assignment list{std::vector<int32_t>(tokens * k, -7), std::vector<int32_t>(tokens * k, -7)};
  kernels::topk_select<A>(kernels::Cpu{}, {.score = score.data(),
                                           .bias = bias.empty() ? nullptr : bias.data(),
                                           .token = list.token.data(),
                                           .expert = list.expert.data(),
                                           .tokens = tokens,
                                           .experts = experts,
                                           .k = k});
  return list;
}

template <class A>
std::vector<A> weights_of(const std::vector<A>& score, int64_t experts, const Assignment& list, int64_t per_token,
                          kernels::GateWeightMode mode, double scale = 1) {
  std::vector<A> weight(list.entries(), A(-7));
  kernels::gate_weight_forward<A>(kernels::Cpu{}, {.score = score.data(),
                                                   .token = list.token.data(),
                                                   .expert = list.expert.data(),
                                                   .weight = weight.data(),
                                                   .entries = list.entries(),
                                                   .per_token = per_token,
                                                   .experts = experts,
                                                   .mode = mode,
                                                   .scale = scale});
  return weight;
}

// The tables of index_build, owned. `kept` and `slot_of_expert` may be empty.
struct Index {
  int64_t rows = 0;
  std::vector<int32_t> seg_start, seg_count, row_end, row_entry, row_token, entry_row, token_start, token_entry;

  // Every table starts with garbage: a body that leaves something unset is seen.
  Index(const Assignment& list, int64_t tokens, int64_t experts, int64_t slots, int64_t row_alignment,
        const std::vector<uint8_t>& kept = {}, const std::vector<int32_t>& slot_of_expert = {})
      : rows(kernels::index_build_rows(list.entries(), slots, row_alignment)),
        seg_start(slots, -99),
        seg_count(slots, -99),
        row_end(1, -99),
        row_entry(rows, -99),
        row_token(rows, -99),
        entry_row(list.entries(), -99),
        token_start(tokens + 1, -99),
        token_entry(list.entries(), -99) {
    kernels::index_build(kernels::Cpu{}, {.token = list.token.data(),
                                          .expert = list.expert.data(),
                                          .kept = kept.empty() ? nullptr : kept.data(),
                                          .slot_of_expert = slot_of_expert.empty() ? nullptr : slot_of_expert.data(),
                                          .seg_start = seg_start.data(),
                                          .seg_count = seg_count.data(),
                                          .row_end = row_end.data(),
                                          .row_entry = row_entry.data(),
                                          .row_token = row_token.data(),
                                          .entry_row = entry_row.data(),
                                          .token_start = token_start.data(),
                                          .token_entry = token_entry.data(),
                                          .entries = list.entries(),
                                          .tokens = tokens,
                                          .experts = experts,
                                          .slots = slots,
                                          .rows = rows,
                                          .row_alignment = row_alignment});
  }
};

}  // namespace sy::test
