// Selection of experts from scores. Every selector writes an assignment list (token, expert); a hole is token = expert
// = -1.
//
// score [tokens, experts] in A, plus an optional bias [experts] in A that acts on the selection only.
// Ties go to the lower expert id (for expert choice: to the lower token id). NaN scores rank below every number.
//
// topk_select: entries t*k .. t*k+k-1 of the list are token t's experts in descending score + bias (the selection
// score).
//   With groups > 1 the experts form `groups` equal blocks of adjacent ids; a block's score is the sum of its
//   group_top best biased scores, added in descending order (DeepSeek-V3: 2; all of them if the block is smaller);
//   only the best `groups_kept` blocks take part, ties to the lower block: an expert outside is never taken, not even
//   against -inf or NaN inside. k is at most the number of experts that take part. -0 and +0 tie.
// top_p_select: per token the shortest prefix, in descending probability, whose sum (in A, in that order) is > p
//   (strictly; at least one, all if never reached), cut at max_per_token. Entries t*max_per_token ..., holes behind. No
//   bias.
// expert_choice_select: each expert takes its `capacity` best tokens of each group of group_tokens tokens. Entries
//   (g*experts + e)*capacity + r in descending score; holes if the group has fewer tokens than capacity. tokens is a
//   multiple of group_tokens.
// Deterministic.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class A>
struct TopkSelect {
  const A* score = nullptr;
  const A* bias = nullptr;    // nullable
  int32_t* token = nullptr;   // [tokens*k]
  int32_t* expert = nullptr;  // [tokens*k]
  int64_t tokens = 0, experts = 0, k = 0;
  int64_t groups = 1, groups_kept = 1, group_top = 2;

  Work work() const { return {.bytes = bytes_of<A>(tokens * experts) + bytes_of<int32_t, int32_t>(tokens * k)}; }
};

template <class A>
struct TopPSelect {
  const A* probability = nullptr;
  int32_t* token = nullptr;   // [tokens*max_per_token]
  int32_t* expert = nullptr;  // [tokens*max_per_token]
  int64_t tokens = 0, experts = 0, max_per_token = 0;
  double p = 0;

  Work work() const {
    return {.bytes = bytes_of<A>(tokens * experts) + bytes_of<int32_t, int32_t>(tokens * max_per_token)};
  }
};

template <class A>
struct ExpertChoiceSelect {
  const A* score = nullptr;
  int32_t* token = nullptr;  // [tokens/group_tokens * experts * capacity]
  int32_t* expert = nullptr;
  int64_t tokens = 0, experts = 0, capacity = 0, group_tokens = 0;

  Work work() const { return {.bytes = bytes_of<A>(tokens * experts)}; }
};

template <class A>
void topk_select(Cpu, const TopkSelect<A>& args);
template <class A>
void topk_select(Cuda, const TopkSelect<A>& args);
template <class A>
void top_p_select(Cpu, const TopPSelect<A>& args);
template <class A>
void top_p_select(Cuda, const TopPSelect<A>& args);
template <class A>
void expert_choice_select(Cpu, const ExpertChoiceSelect<A>& args);
template <class A>
void expert_choice_select(Cuda, const ExpertChoiceSelect<A>& args);

}  // namespace sy::kernels
