// Capacity: published examples on fixture F1, every order against a plain simulation, the next choice.
#include "kernels/moe/capacity.h"

#include <gtest/gtest.h>

#include <tuple>

#include "csrc/core/check.h"
#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::CapacityOrder;
using kernels::Cpu;
using kernels::ScoreLink;
using namespace sy::test;
using Ids = std::vector<int32_t>;
using Flags = std::vector<uint8_t>;

template <class A>
struct Problem {
  Assignment list;
  std::vector<A> score;
  int64_t tokens, experts, per_token, group_tokens, capacity;
  CapacityOrder order = CapacityOrder::kPosition;
  bool next_choice = false;
  std::vector<A> priority{};

  // Returns the kept flags and rewrites the list's experts.
  Flags run() {
    Flags kept(list.entries(), 77);
    kernels::capacity_limit<A>(Cpu{}, {.token = list.token.data(),
                                       .expert = list.expert.data(),
                                       .score = score.empty() ? nullptr : score.data(),
                                       .priority = priority.empty() ? nullptr : priority.data(),
                                       .kept = kept.data(),
                                       .entries = list.entries(),
                                       .tokens = tokens,
                                       .experts = experts,
                                       .per_token = per_token,
                                       .group_tokens = group_tokens,
                                       .capacity = capacity,
                                       .order = order,
                                       .next_choice = next_choice});
    return kept;
  }
};

Problem<double> f1_problem(int64_t k, CapacityOrder order) {
  const std::vector<double> P = scores_of(f1_logits(), 4, ScoreLink::kSoftmax);
  return {topk_of(P, 4, k), P, 4, 4, k, 4, 1, order};
}

TEST(CapacityLimit, F1Top2InPositionOrderKeepsTheFourPublishedPairs) {
  // First choices 0, 1, (1 full), 2; second choices all full but token 3 at expert 3.
  EXPECT_EQ(f1_problem(2, CapacityOrder::kPosition).run(), (Flags{1, 0, 1, 0, 0, 0, 1, 1}));
}

TEST(CapacityLimit, F1Top1DropsTheWeakTokenUnderBatchPriorityWhereverItStands) {
  EXPECT_EQ(f1_problem(1, CapacityOrder::kPosition).run(), (Flags{1, 1, 0, 1}));
  EXPECT_EQ(f1_problem(1, CapacityOrder::kTokenScore).run(), (Flags{1, 1, 0, 1}));
  Problem<double> swapped = f1_problem(1, CapacityOrder::kPosition);
  for (int e = 0; e < 4; ++e) std::swap(swapped.score[4 + e], swapped.score[8 + e]);
  swapped.list = topk_of(swapped.score, 4, 1);
  EXPECT_EQ(swapped.run(), (Flags{1, 1, 0, 1})) << "position order drops the strong token, now token 2";
  for (CapacityOrder order : {CapacityOrder::kTokenScore, CapacityOrder::kScore}) {
    swapped.order = order;
    EXPECT_EQ(swapped.run(), (Flags{1, 0, 1, 1}));
  }
}

TEST(CapacityLimit, BatchPriorityPutsTokensBeforeRanksAndScoreOrderRanksBeforeTokens) {
  // Token 0 holds {1: .9, 0: .6}, token 1 holds {0: .8, 1: .1}.
  Problem<double> p{{{0, 0, 1, 1}, {1, 0, 0, 1}}, {.6, .9, .8, .1}, 2, 2, 2, 2, 1, CapacityOrder::kScore};
  EXPECT_EQ(p.run(), (Flags{1, 0, 1, 0}));
  p.order = CapacityOrder::kTokenScore;
  EXPECT_EQ(p.run(), (Flags{1, 1, 0, 0})) << "both choices of token 0 come first";
}

TEST(CapacityLimit, RandomOrderFollowsThePriorities) {
  Problem<float> p{{{0, 1, 2, 3}, {0, 0, 0, 0}}, {}, 4, 1, 1, 4, 2, CapacityOrder::kRandom, false,
                   {.5f, .2f, .9f, .2f}};
  EXPECT_EQ(p.run(), (Flags{0, 1, 0, 1}));
  p.capacity = 1;
  EXPECT_EQ(p.run(), (Flags{0, 1, 0, 0})) << "ties go to the lower token";
}

TEST(CapacityLimit, NaNComesLastInEveryOrder) {
  const Assignment list{{0, 1, 2}, {0, 0, 0}};
  EXPECT_EQ((Problem<double>{list, {kNaN, 1, 2}, 3, 1, 1, 3, 2, CapacityOrder::kScore}.run()), (Flags{0, 1, 1}));
  EXPECT_EQ((Problem<double>{list, {kNaN, 1, 2}, 3, 1, 1, 3, 2, CapacityOrder::kTokenScore}.run()), (Flags{0, 1, 1}));
  EXPECT_EQ((Problem<double>{list, {}, 3, 1, 1, 3, 2, CapacityOrder::kRandom, false, {kNaN, 1, 2}}.run()),
            (Flags{0, 1, 1}));
}

TEST(CapacityLimit, EveryGroupHasItsOwnSlots) {
  Problem<double> p{{{0, 1, 2, 3, 4}, {0, 0, 0, 0, 0}}, {}, 5, 1, 1, 2, 1};
  EXPECT_EQ(p.run(), (Flags{1, 0, 1, 0, 1})) << "the last group may be short";
}

TEST(CapacityLimit, AnExpertMajorListIsServedInTokenOrder) {
  Problem<double> p{{{3, 1, -1, 2, 2, 0}, {0, 0, -1, 0, 1, 1}}, {}, 4, 2, 1, 4, 2};
  EXPECT_EQ(p.run(), (Flags{0, 1, 0, 1, 1, 1}));
}

TEST(CapacityLimit, CapacityZeroDropsAllAndALargeOneKeepsAllButHoles) {
  Problem<double> p{{{0, 0, -1, 1}, {0, 0, -1, 1}}, {}, 2, 2, 2, 2, 0};
  EXPECT_EQ(p.run(), (Flags{0, 0, 0, 0}));
  p.capacity = 9;
  EXPECT_EQ(p.run(), (Flags{1, 1, 0, 1}));
  p.capacity = 1;
  EXPECT_EQ(p.run(), (Flags{1, 0, 0, 1})) << "(token, expert) twice takes two slots";
}

TEST(CapacityLimit, ADroppedEntryMovesToItsTokensBestExpertWithRoom) {
  // Three tokens want expert 0 (one slot); experts 1 and 2 have one slot each.
  Problem<double> p{{{0, 1, 2}, {0, 0, 0}}, {.9, .1, .5, .8, .3, .2, .7, .6, .1}, 3, 3, 1, 3, 1};
  p.next_choice = true;
  EXPECT_EQ(p.run(), (Flags{1, 1, 1}));
  EXPECT_EQ(p.list.expert, (Ids{0, 1, 2}));
}

TEST(CapacityLimit, AMovedEntryNeverTakesASlotFromATokensOwnChoice) {
  // Token 1 is dropped from expert 0 and would prefer expert 1, which token 2 chose itself.
  Problem<double> p{{{0, 1, 2}, {0, 0, 1}}, {.9, .1, 0, .8, .7, .1, .2, .3, .1}, 3, 3, 1, 3, 1};
  p.next_choice = true;
  EXPECT_EQ(p.run(), (Flags{1, 1, 1}));
  EXPECT_EQ(p.list.expert, (Ids{0, 2, 1}));
}

TEST(CapacityLimit, TheNextChoiceIsNeverAnExpertTheTokenHolds) {
  // Expert 1 has room left but both dropped tokens hold it already; there is no third expert.
  Problem<double> p{{{0, 0, 1, 1, 2, 2}, {0, 1, 0, 1, 0, 1}}, {.6, .4, .6, .4, .6, .4}, 3, 2, 2, 3, 1};
  p.capacity = 2;
  p.list.expert[5] = p.list.token[5] = -1;  // token 2 holds expert 0 only, and expert 1 is full by then
  p.next_choice = true;
  EXPECT_EQ(p.run(), (Flags{1, 1, 1, 1, 0, 0}));
  EXPECT_EQ(p.list.expert, (Ids{0, 1, 0, 1, 0, -1}));
  Problem<double> roomy{{{0, 0, 1, 1}, {0, 1, 0, 1}}, {.6, .4, .6, .4}, 2, 2, 2, 2, 1};
  roomy.list.expert[1] = roomy.list.token[1] = -1;
  roomy.next_choice = true;
  EXPECT_EQ(roomy.run(), (Flags{1, 0, 0, 1})) << "expert 1 is token 1's own second choice";
  EXPECT_EQ(roomy.list.expert, (Ids{0, -1, 0, 1}));
}

// One entry at a time, by the words of the contract.
Flags simulate(Problem<double>& p) {
  const int64_t N = p.list.entries();
  std::vector<double> best(p.tokens, -1e300);
  for (int64_t n = 0; n < N; ++n)
    if (p.list.expert[n] >= 0)
      best[p.list.token[n]] = std::max(best[p.list.token[n]], p.score[p.list.token[n] * p.experts + p.list.expert[n]]);
  using Key = std::tuple<int64_t, double, int32_t, int64_t, int64_t>;  // rank, -score, token, rank, entry
  std::vector<Key> turns;
  for (int64_t n = 0; n < N; ++n) {
    const int32_t t = p.list.token[n], e = p.list.expert[n];
    if (e < 0) continue;
    const int64_t rank = n % p.per_token;
    switch (p.order) {
      case CapacityOrder::kPosition:
        turns.emplace_back(rank, 0, t, 0, n);
        break;
      case CapacityOrder::kScore:
        turns.emplace_back(rank, -p.score[t * p.experts + e], t, 0, n);
        break;
      case CapacityOrder::kRandom:
        turns.emplace_back(rank, p.priority[t], t, 0, n);
        break;
      case CapacityOrder::kTokenScore:
        turns.emplace_back(0, -best[t], t, rank, n);
        break;
    }
  }
  std::sort(turns.begin(), turns.end());
  std::vector<int64_t> used((p.tokens / p.group_tokens + 1) * p.experts);
  const auto used_by = [&](int32_t t, int64_t e) -> int64_t& { return used[t / p.group_tokens * p.experts + e]; };
  Flags kept(N, 0);
  for (const Key& turn : turns) {
    const int64_t n = std::get<4>(turn);
    int64_t& taken = used_by(p.list.token[n], p.list.expert[n]);
    if (taken < p.capacity) ++taken, kept[n] = 1;
  }
  for (const Key& turn : turns) {
    const int64_t n = std::get<4>(turn);
    const int32_t t = p.list.token[n];
    if (!p.next_choice || kept[n]) continue;
    int64_t choice = -1;
    for (int64_t e = 0; e < p.experts; ++e) {
      bool held = used_by(t, e) >= p.capacity;
      for (int64_t i = 0; i < N; ++i) held |= p.list.token[i] == t && p.list.expert[i] == e;
      if (!held && (choice < 0 || p.score[t * p.experts + e] > p.score[t * p.experts + choice])) choice = e;
    }
    if (choice < 0) continue;
    p.list.expert[n] = static_cast<int32_t>(choice);
    ++used_by(t, choice);
    kept[n] = 1;
  }
  return kept;
}

constexpr CapacityOrder kOrders[] = {CapacityOrder::kPosition, CapacityOrder::kScore, CapacityOrder::kRandom,
                                     CapacityOrder::kTokenScore};

TEST(CapacityLimit, EveryOrderMatchesAPlainSimulation) {
  for (int64_t E : {3, 70})
    for (int64_t group_tokens : {16, 48})
      for (CapacityOrder order : kOrders)
        for (bool next_choice : {false, true}) {
          constexpr int64_t T = 48, K = 3;
          std::vector<double> score = random_normal<double>(T * E, E), priority = random_normal<double>(T, 2);
          for (double& s : score) s = std::round(s * 3);  // coarse: ties everywhere
          for (double& s : priority) s = std::round(s * 3);
          Problem<double> p{topk_of(score, E, K), score, T, E, K, group_tokens, 2, order, next_choice, priority};
          for (int64_t n = 5; n < T * K; n += 11) p.list.token[n] = p.list.expert[n] = -1;
          Problem<double> reference = p;
          const Flags expected = simulate(reference);
          EXPECT_EQ(p.run(), expected);
          EXPECT_EQ(p.list.expert, reference.list.expert);
          constexpr int64_t kHoles = 13;
          if (!next_choice || E == 3) {
            EXPECT_GT(std::count(expected.begin(), expected.end(), 0), kHoles) << "nothing was dropped: no test";
          }
        }
}

TEST(CapacityLimit, AListInNoOrderMatchesThePlainSimulation) {
  for (CapacityOrder order : kOrders) {
    constexpr int64_t T = 30, E = 6, N = 90;
    Problem<double> p{{random_integers(N, 0, T - 1, 4), random_integers(N, 0, E - 1, 5)},
                      random_normal<double>(T * E, 6),
                      T,
                      E,
                      1,
                      15,
                      4,
                      order,
                      true,
                      random_normal<double>(T, 7)};
    Problem<double> reference = p;
    EXPECT_EQ(p.run(), simulate(reference));
    EXPECT_EQ(p.list.expert, reference.list.expert);
  }
}

TEST(CapacityLimit, NoTokensAndOnlyHolesAreFine) {
  EXPECT_TRUE((Problem<float>{{}, {}, 0, 4, 2, 1, 1}.run().empty()));
  EXPECT_EQ((Problem<float>{{Ids(4, -1), Ids(4, -1)}, {}, 2, 4, 2, 2, 1}.run()), Flags(4, 0));
}

TEST(CapacityLimit, AMissingScoreOrPriorityIsAnError) {
  const Assignment list{{0}, {0}};
  EXPECT_THROW((Problem<float>{list, {}, 1, 1, 1, 1, 1, CapacityOrder::kScore}.run()), Error);
  EXPECT_THROW((Problem<float>{list, {}, 1, 1, 1, 1, 1, CapacityOrder::kRandom}.run()), Error);
  EXPECT_THROW((Problem<float>{list, {}, 1, 1, 1, 1, 1, CapacityOrder::kPosition, true}.run()), Error);
}

TEST(CapacityLimit, FlagsDoNotDependOnTheNumberOfThreads) {
  const std::vector<float> score = random_normal<float>(8192 * 16, 8);
  for (CapacityOrder order : kOrders)
    expect_same_with_any_number_of_threads([&] {
      Problem<float> p{topk_of(score, 16, 4),        score, 8192, 16, 4, 1024, 200, order, true,
                       random_normal<float>(8192, 9)};
      Flags kept = p.run();
      for (int32_t e : p.list.expert) kept.push_back(static_cast<uint8_t>(e));
      return kept;
    });
}

}  // namespace
}  // namespace sy
