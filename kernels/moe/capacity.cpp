// CPU body of the capacity limit: bucket the entries by (group, rank), sort each bucket, then hand out the slots.
// Buckets and groups are independent of each other and spread over threads; inside a group the slots go one by one.
#include "kernels/moe/capacity.h"

#include <vector>

#include "kernels/moe/cpu_rows.h"
#include "kernels/moe/rank_order.h"

namespace sy::kernels {
namespace {

// An entry with what decides its turn: key descending, then token, rank and entry index ascending.
template <class A>
struct Turn {
  A key;
  int32_t token, rank, entry;
};

template <class A>
bool comes_before(const Turn<A>& a, const Turn<A>& b) {
  if (a.token != b.token) return ranks_above(Ranked<A>{a.key, a.token}, Ranked<A>{b.key, b.token});
  // One token twice: kScore still compares the pairs' scores; the other keys are the token's own and tie here.
  const Ranked<A> first{a.key, 0}, second{b.key, 0};
  if (ranks_above(first, second)) return true;
  if (ranks_above(second, first)) return false;
  return a.rank != b.rank ? a.rank < b.rank : a.entry < b.entry;
}

// Largest selected score of each token; NaN only if the token has no other.
template <class A>
std::vector<A> best_score_of_tokens(const CapacityLimit<A>& args) {
  std::vector<A> best(args.tokens);
  std::vector<char> seen(args.tokens);
  for (int64_t n = 0; n < args.entries; ++n) {
    if (args.expert[n] < 0) continue;
    const int64_t t = args.token[n];
    const A score = args.score[t * args.experts + args.expert[n]];
    if (!seen[t] || ranks_above(Ranked<A>{score, 0}, Ranked<A>{best[t], 0})) best[t] = score;
    seen[t] = 1;
  }
  return best;
}

// All turns, bucket after bucket; bucket b covers [start[b], start[b + 1]).
template <class A>
struct Turns {
  std::vector<Turn<A>> turn;
  std::vector<int64_t> start;
  int64_t ranks = 1;  // buckets per group
};

template <class A>
Turns<A> sorted_turns(const CapacityLimit<A>& args, int64_t groups) {
  Turns<A> turns;
  // Batch priority puts tokens before ranks: the whole group is one bucket.
  turns.ranks = args.order == CapacityOrder::kTokenScore ? 1 : args.per_token;
  const int64_t buckets = groups * turns.ranks;
  const auto bucket_of = [&](int64_t n) { return args.token[n] / args.group_tokens * turns.ranks + n % turns.ranks; };
  turns.start.assign(buckets + 1, 0);
  for (int64_t n = 0; n < args.entries; ++n)
    if (args.expert[n] >= 0) ++turns.start[bucket_of(n) + 1];
  for (int64_t b = 0; b < buckets; ++b) turns.start[b + 1] += turns.start[b];
  turns.turn.resize(turns.start[buckets]);

  std::vector<A> best;
  if (args.order == CapacityOrder::kTokenScore) best = best_score_of_tokens(args);
  std::vector<int64_t> next(turns.start.begin(), turns.start.end() - 1);
  for (int64_t n = 0; n < args.entries; ++n) {
    if (args.expert[n] < 0) continue;
    const int32_t t = args.token[n];
    A key = 0;
    if (args.order == CapacityOrder::kScore) key = args.score[t * args.experts + args.expert[n]];
    if (args.order == CapacityOrder::kRandom) key = -args.priority[t];
    if (args.order == CapacityOrder::kTokenScore) key = best[t];
    turns.turn[next[bucket_of(n)]++] = {key, t, static_cast<int32_t>(n % args.per_token), static_cast<int32_t>(n)};
  }
#pragma omp parallel for schedule(dynamic) if (args.entries >= cpu_rows::kParallelElements)
  for (int64_t b = 0; b < buckets; ++b) {
    const auto begin = turns.turn.begin() + turns.start[b], end = turns.turn.begin() + turns.start[b + 1];
    // A list that a top-k selector wrote already stands in position order.
    if (!std::is_sorted(begin, end, comes_before<A>)) std::sort(begin, end, comes_before<A>);
  }
  return turns;
}

// The non-hole entries of every token: entry[start[t] .. start[t + 1]).
struct TokenLists {
  std::vector<int32_t> start, entry;
};

template <class A>
TokenLists lists_by_token(const CapacityLimit<A>& args) {
  TokenLists lists{std::vector<int32_t>(args.tokens + 1), std::vector<int32_t>(args.entries)};
  for (int64_t n = 0; n < args.entries; ++n)
    if (args.expert[n] >= 0) ++lists.start[args.token[n] + 1];
  for (int64_t t = 0; t < args.tokens; ++t) lists.start[t + 1] += lists.start[t];
  std::vector<int32_t> next(lists.start);
  for (int64_t n = 0; n < args.entries; ++n)
    if (args.expert[n] >= 0) lists.entry[next[args.token[n]]++] = static_cast<int32_t>(n);
  return lists;
}

// The token's best-scoring expert with room that it does not hold yet, or -1.
template <class A>
int32_t next_choice_of(const CapacityLimit<A>& args, int32_t token, const TokenLists& lists,
                       const std::vector<int64_t>& room) {
  Ranked<A> best{0, -1};
  for (int64_t e = 0; e < args.experts; ++e) {
    const Ranked<A> candidate{args.score[token * args.experts + e], static_cast<int32_t>(e)};
    if (room[e] == 0 || (best.id >= 0 && !ranks_above(candidate, best))) continue;
    bool held = false;
    for (int32_t i = lists.start[token]; i < lists.start[token + 1]; ++i) held |= args.expert[lists.entry[i]] == e;
    if (!held) best = candidate;
  }
  return best.id;
}

}  // namespace

template <class A>
void capacity_limit(Cpu, const CapacityLimit<A>& args) {
  cpu_rows::clear(args.kept, args.entries);
  if (args.entries == 0 || args.tokens == 0) return;
  const bool by_score = args.order == CapacityOrder::kScore || args.order == CapacityOrder::kTokenScore;
  SY_KERNEL_CHECK(args.per_token >= 1 && args.group_tokens >= 1 && args.capacity >= 0);
  SY_KERNEL_CHECK(args.score || !(by_score || args.next_choice));
  SY_KERNEL_CHECK(args.priority || args.order != CapacityOrder::kRandom);
  bool inside = true;
  for (int64_t n = 0; n < args.entries; ++n)
    inside &=
        args.expert[n] < 0 || (args.expert[n] < args.experts && args.token[n] >= 0 && args.token[n] < args.tokens);
  SY_KERNEL_CHECK(inside && "every assignment names an existing token and expert");

  const int64_t groups = (args.tokens + args.group_tokens - 1) / args.group_tokens;
  const Turns<A> turns = sorted_turns(args, groups);
  TokenLists lists;
  if (args.next_choice) lists = lists_by_token(args);
#pragma omp parallel for schedule(dynamic) if (groups > 1 && args.entries >= cpu_rows::kParallelElements)
  for (int64_t g = 0; g < groups; ++g) {
    std::vector<int64_t> room(args.experts, args.capacity);
    const int64_t begin = turns.start[g * turns.ranks], end = turns.start[(g + 1) * turns.ranks];
    for (int64_t i = begin; i < end; ++i) {
      const int32_t n = turns.turn[i].entry;
      if (room[args.expert[n]] == 0) continue;
      --room[args.expert[n]];
      args.kept[n] = 1;
    }
    if (!args.next_choice) continue;
    for (int64_t i = begin; i < end; ++i) {
      const int32_t n = turns.turn[i].entry;
      if (args.kept[n]) continue;
      const int32_t expert = next_choice_of(args, turns.turn[i].token, lists, room);
      if (expert < 0) continue;
      --room[expert];
      args.expert[n] = expert;
      args.kept[n] = 1;
    }
  }
}

template void capacity_limit<float>(Cpu, const CapacityLimit<float>&);
template void capacity_limit<double>(Cpu, const CapacityLimit<double>&);

}  // namespace sy::kernels
