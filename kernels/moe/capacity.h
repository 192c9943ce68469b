// Capacity: which assignments of an expert survive when it may take at most `capacity` of a group's tokens.
//
// token, expert [entries] i32 (expert < 0: a hole); score [tokens, experts] in A. Groups are `group_tokens` consecutive
// tokens (a routing group = one micro-batch, or one sequence); each expert takes `capacity` entries per group.
// Slots are given in the order of `order`. The first three go ranks first: all first choices (entry index modulo
// per_token = 0), then all second choices, and so on (per_token = 1: one pass over the list):
//   kPosition: ascending token       kScore: descending score of the (token, expert) pair, ties to the lower token
//   kRandom:   ascending priority[token], ties to the lower token (priority in A, drawn by the caller)
//   kTokenScore: descending largest selected score of the token (V-MoE batch priority), ties to the lower token; within
//     a token by rank: all choices of the best token come before the first choice of the next one
// What still ties (one token several times in a rank) goes by ascending entry index. NaN comes last in every order.
// kept [entries] u8 (set): 1 kept, 0 dropped or hole.
// With next_choice, once all slots are given, the dropped entries move one by one, in the same order, to their token's
// best-scoring expert (ties to the lower id) that has room left and that the token does not hold yet; so a moved entry
// never takes a slot from a token's own choice. `expert` is rewritten in place; without such an expert it stays
// dropped. Deterministic.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

enum class CapacityOrder : int32_t { kPosition = 0, kScore = 1, kRandom = 2, kTokenScore = 3 };

template <class A>
struct CapacityLimit {
  const int32_t* token = nullptr;
  int32_t* expert = nullptr;
  const A* score = nullptr;     // needed by kScore, kTokenScore and next_choice
  const A* priority = nullptr;  // [tokens], needed by kRandom
  uint8_t* kept = nullptr;
  int64_t entries = 0, tokens = 0, experts = 0, per_token = 1, group_tokens = 0, capacity = 0;
  CapacityOrder order = CapacityOrder::kPosition;
  bool next_choice = false;

  Work work() const { return {.bytes = bytes_of<int32_t, int32_t, A, uint8_t>(entries)}; }
};

template <class A>
void capacity_limit(Cpu, const CapacityLimit<A>& args);
template <class A>
void capacity_limit(Cuda, const CapacityLimit<A>& args);

}  // namespace sy::kernels
