// Capacity: which assignments of an expert survive when it may take at most `capacity` of a group's tokens.
//
// token, expert [entries] i32 (expert < 0: a hole); score [tokens, experts] in A. Groups are `group_tokens` consecutive
// tokens (a routing group = one micro-batch, or one sequence); each expert takes `capacity` entries per group.
// Slots are given in the order of `order`, ranks first: all first choices (entry index modulo per_token = 0), then all
// second choices, and so on (per_token = 1: one pass over the list):
//   kPosition: ascending token       kScore: descending score of the (token, expert) pair, ties to the lower token
//   kRandom:   ascending priority[token], ties to the lower token (priority in A, drawn by the caller)
//   kTokenScore: like kScore but tokens ordered by their largest selected score (V-MoE batch priority), before ranks
// kept [entries] u8 (set): 1 kept, 0 dropped or hole.
// With next_choice, a dropped entry moves, in the same order, to the token's best-scoring expert that has room and that
// the token does not hold yet; `expert` is rewritten in place; if no expert has room it stays dropped.
// Deterministic.
#pragma once

#include "kernels/types.h"

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
};

template <class A>
void capacity_limit(Cpu, const CapacityLimit<A>& args);
template <class A>
void capacity_limit(Cuda, const CapacityLimit<A>& args);

}  // namespace sy::kernels
