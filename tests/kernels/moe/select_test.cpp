// Selectors: golden sets of fixture F1, ties, NaN, masked groups, every selector against a plain sort.
#include "kernels/moe/select.h"

#include <gtest/gtest.h>

#include <numeric>

#include "csrc/core/check.h"
#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using kernels::ScoreLink;
using namespace sy::test;
using Ids = std::vector<int32_t>;

template <class A>
Assignment grouped(const std::vector<A>& score, int64_t experts, int64_t k, int64_t groups, int64_t groups_kept,
                   int64_t group_top, const std::vector<A>& bias = {}) {
  const int64_t tokens = static_cast<int64_t>(score.size()) / experts;
  Assignment list{Ids(tokens * k, -7), Ids(tokens * k, -7)};
  kernels::topk_select<A>(Cpu{}, {.score = score.data(),
                                  .bias = bias.empty() ? nullptr : bias.data(),
                                  .token = list.token.data(),
                                  .expert = list.expert.data(),
                                  .tokens = tokens,
                                  .experts = experts,
                                  .k = k,
                                  .groups = groups,
                                  .groups_kept = groups_kept,
                                  .group_top = group_top});
  return list;
}

template <class A>
Assignment top_p(const std::vector<A>& probability, int64_t experts, double p, int64_t most) {
  const int64_t tokens = static_cast<int64_t>(probability.size()) / experts;
  Assignment list{Ids(tokens * most, -7), Ids(tokens * most, -7)};
  kernels::top_p_select<A>(Cpu{}, {.probability = probability.data(),
                                   .token = list.token.data(),
                                   .expert = list.expert.data(),
                                   .tokens = tokens,
                                   .experts = experts,
                                   .max_per_token = most,
                                   .p = p});
  return list;
}

template <class A>
Assignment expert_choice(const std::vector<A>& score, int64_t experts, int64_t capacity, int64_t group_tokens) {
  const int64_t tokens = static_cast<int64_t>(score.size()) / experts;
  const int64_t entries = tokens / group_tokens * experts * capacity;
  Assignment list{Ids(entries, -7), Ids(entries, -7)};
  kernels::expert_choice_select<A>(Cpu{}, {.score = score.data(),
                                           .token = list.token.data(),
                                           .expert = list.expert.data(),
                                           .tokens = tokens,
                                           .experts = experts,
                                           .capacity = capacity,
                                           .group_tokens = group_tokens});
  return list;
}

// Ids of `values` in descending order, ties to the lower id, by the library's stable sort. No NaN.
template <class A>
Ids sorted_ids(const std::vector<A>& values) {
  Ids ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  return ids;
}

TEST(TopkSelect, F1HasTheGoldenTop1AndTop2) {
  EXPECT_EQ(topk_of(f1_logits(), 4, 1).expert, (Ids{0, 1, 1, 2}));
  const Assignment top2 = topk_of(f1_logits(), 4, 2);
  EXPECT_EQ(top2.expert, (Ids{0, 1, 1, 2, 1, 0, 2, 3}));
  EXPECT_EQ(top2.token, (Ids{0, 0, 1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(topk_of(f1_logits<float>(), 4, 2).expert, top2.expert);
}

TEST(TopkSelect, MatchesAStableSortForFewAndManyExperts) {
  for (int64_t E : {1, 5, 64, 65, 130, 300})
    for (int64_t k : {int64_t{1}, int64_t{2}, int64_t{8}, int64_t{17}, E}) {
      if (k > E) continue;
      std::vector<float> score = random_normal<float>(7 * E, E);
      for (float& s : score) s = std::round(s * 4);  // coarse: most rows hold ties
      const Ids expert = topk_of(score, E, k).expert;
      for (int64_t t = 0; t < 7; ++t) {
        Ids expected = sorted_ids(std::vector<float>(score.begin() + t * E, score.begin() + (t + 1) * E));
        expected.resize(k);
        EXPECT_EQ(Ids(expert.begin() + t * k, expert.begin() + (t + 1) * k), expected) << "E " << E << " k " << k;
      }
    }
}

TEST(TopkSelect, TiesGoToTheLowerExpertId) {
  EXPECT_EQ(topk_of<double>({3, 3, 3, 3}, 4, 3).expert, (Ids{0, 1, 2}));
  EXPECT_EQ(topk_of<double>({-0.0, 0.0, -0.0, 1}, 4, 3).expert, (Ids{3, 0, 1}));
}

TEST(TopkSelect, NaNRanksBelowEveryNumberAndIsTakenLast) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(topk_of<double>({kNaN, -inf, kNaN, 1}, 4, 2).expert, (Ids{3, 1}));
  EXPECT_EQ(topk_of<double>({kNaN, -inf, kNaN, 1}, 4, 4).expert, (Ids{3, 1, 0, 2}));
  EXPECT_EQ(topk_of<double>({kNaN, kNaN, kNaN, kNaN}, 4, 2).expert, (Ids{0, 1}));
  std::vector<float> row(80, std::numeric_limits<float>::quiet_NaN());
  row[40] = -5, row[79] = 2;
  EXPECT_EQ(topk_of(row, 80, 3).expert, (Ids{79, 40, 0}));
  Ids all = topk_of(row, 80, 80).expert;  // the sorting branch
  EXPECT_EQ(Ids(all.begin(), all.begin() + 3), (Ids{79, 40, 0}));
  EXPECT_EQ(all.back(), 78);
}

TEST(TopkSelect, TheBiasDecidesTheSelectionAndItsOrder) {
  EXPECT_EQ(topk_of<double>({.9, .8, .7, .1}, 4, 2, {0, 0, 0, 2}).expert, (Ids{3, 0}));
  EXPECT_EQ(topk_of<double>({.9, .8, .7, .1}, 4, 2, {5, 5, 5, 5}).expert, (Ids{0, 1}));
}

TEST(TopkSelect, F1KeepsTheGoldenGroups) {
  const std::vector<double> s = scores_of(f1_logits(), 4, ScoreLink::kSigmoid);
  EXPECT_EQ(grouped(s, 4, 2, 2, 1, 2).expert, (Ids{0, 1, 1, 0, 1, 0, 2, 3}));
  // A group_top beyond the members of a block sums all of them.
  // too.
  EXPECT_EQ(grouped(s, 4, 2, 2, 1, 9).expert, (Ids{0, 1, 1, 0, 1, 0, 2, 3}));
}

TEST(TopkSelect, MaskedGroupsLoseEvenToNegativeScores) {
  EXPECT_EQ(grouped<double>({-.1, -.2, -.5, -.6}, 4, 2, 2, 1, 2).expert, (Ids{0, 1}));
  const double inf = std::numeric_limits<double>::infinity();
  // Group 0 is kept for its first member; its other member must still beat everything outside the group.
  EXPECT_EQ(grouped<double>({5, -inf, 1, 1}, 4, 2, 2, 1, 1).expert, (Ids{0, 1}));
  EXPECT_EQ(grouped<double>({5, kNaN, 1, 1}, 4, 2, 2, 1, 1).expert, (Ids{0, 1}));
}

TEST(TopkSelect, TheGroupScoreIsTheSumOfItsBestBiasedScores) {
  // Sums of two: 6 and 7; of one: 5 and 4; with the bias on expert 1: 8 and 7.
  const std::vector<double> score = {5, 1, 0, 4, 3, 0};
  EXPECT_EQ(grouped(score, 6, 2, 2, 1, 2).expert, (Ids{3, 4}));
  EXPECT_EQ(grouped(score, 6, 2, 2, 1, 1).expert, (Ids{0, 1}));
  EXPECT_EQ(grouped<double>(score, 6, 2, 2, 1, 2, {0, 2, 0, 0, 0, 0}).expert, (Ids{0, 1}));
  EXPECT_EQ(grouped<double>({1, 1, 1, 1}, 4, 2, 2, 1, 2).expert, (Ids{0, 1})) << "equal groups: the lower one";
}

TEST(TopkSelect, ATokenNeverReachesMoreGroupsThanKept) {
  const std::vector<float> score = random_normal<float>(200 * 96, 5);
  const Assignment list = grouped(score, 96, 8, 8, 3, 2);
  for (int64_t t = 0; t < 200; ++t) {
    std::vector<char> used(8);
    for (int64_t i = 0; i < 8; ++i) used[list.expert[t * 8 + i] / 12] = 1;
    EXPECT_LE(std::count(used.begin(), used.end(), 1), 3);
  }
  EXPECT_EQ(grouped(score, 96, 8, 8, 8, 2).expert, topk_of(score, 96, 8).expert) << "all groups kept is plain top-k";
}

TEST(TopkSelect, MoreChoicesThanExpertsIsAnError) {
  EXPECT_THROW(topk_of<double>({1, 2}, 2, 3), Error);
  EXPECT_THROW(grouped<double>({1, 2, 3, 4}, 4, 3, 2, 1, 2), Error);
}

TEST(TopPSelect, F1HasTheGoldenSetSizes) {
  const std::vector<double> P = scores_of(f1_logits(), 4, ScoreLink::kSoftmax);
  const std::vector<std::pair<double, Ids>> golden = {
      {.4, {1, 1, 1, 1}}, {.6, {1, 1, 2, 1}}, {.8, {2, 1, 3, 2}}, {.95, {3, 3, 4, 3}}, {1, {4, 4, 4, 4}}};
  for (const auto& [p, sizes] : golden) {
    const Assignment list = top_p(P, 4, p, 4);
    const Ids order = topk_of(P, 4, 4).expert;
    for (int t = 0; t < 4; ++t)
      for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(list.expert[t * 4 + i], i < sizes[t] ? order[t * 4 + i] : -1) << "p " << p << " token " << t;
        EXPECT_EQ(list.token[t * 4 + i], i < sizes[t] ? t : -1);
      }
  }
}

TEST(TopPSelect, TheSumMustExceedPStrictlyAndOneExpertAlwaysStays) {
  EXPECT_EQ(top_p<double>({.5, .25, .25, 0}, 4, .5, 4).expert, (Ids{0, 1, -1, -1}));
  EXPECT_EQ(top_p<double>({.5, .25, .25, 0}, 4, -1, 4).expert, (Ids{0, -1, -1, -1}));
  EXPECT_EQ(top_p<double>({.5, .25, .25, 0}, 4, 1, 4).expert, (Ids{0, 1, 2, 3})) << "never reached: all of them";
}

TEST(TopPSelect, IsCutAtTheMostPerTokenAndPaddedBeyondTheExperts) {
  EXPECT_EQ(top_p<double>({.25, .25, .25, .25}, 4, .9, 2).expert, (Ids{0, 1}));
  EXPECT_EQ(top_p<double>({.5, .5}, 2, 2, 3).expert, (Ids{0, 1, -1}));
  EXPECT_EQ(top_p<double>({kNaN, .3, kNaN, .7}, 4, .8, 4).expert, (Ids{3, 1, -1, -1})) << "NaN behind the numbers";
}

TEST(ExpertChoiceSelect, F1HasTheGoldenListsForOneAndTwoTokensPerExpert) {
  const std::vector<double> P = scores_of(f1_logits(), 4, ScoreLink::kSoftmax);
  EXPECT_EQ(expert_choice(P, 4, 1, 4).token, (Ids{0, 1, 3, 3}));
  const Assignment two = expert_choice(P, 4, 2, 4);
  EXPECT_EQ(two.token, (Ids{0, 2, 1, 2, 3, 1, 3, 2}));
  EXPECT_EQ(two.expert, (Ids{0, 0, 1, 1, 2, 2, 3, 3}));
}

TEST(ExpertChoiceSelect, EveryGroupIsRankedAloneAndShortGroupsLeaveHoles) {
  // Two groups of two tokens, three slots: the third is a hole.
  const Assignment list = expert_choice<double>({1, 5, 2, 4, 3, 3, 4, 3}, 2, 3, 2);
  EXPECT_EQ(list.token, (Ids{1, 0, -1, 0, 1, -1, 3, 2, -1, 2, 3, -1})) << "ties go to the lower token";
  EXPECT_EQ(list.expert, (Ids{0, 0, -1, 1, 1, -1, 0, 0, -1, 1, 1, -1}));
}

TEST(ExpertChoiceSelect, MatchesAStableSortOfEveryColumn) {
  constexpr int64_t T = 90, E = 70, G = 45;
  std::vector<float> score = random_normal<float>(T * E, 8);
  for (float& s : score) s = std::round(s * 8);
  for (int64_t C : {3, 20, 45}) {
    const Assignment list = expert_choice(score, E, C, G);
    for (int64_t g = 0; g < T / G; ++g)
      for (int64_t e = 0; e < E; ++e) {
        std::vector<float> column(G);
        for (int64_t i = 0; i < G; ++i) column[i] = score[(g * G + i) * E + e];
        const Ids expected = sorted_ids(column);
        for (int64_t r = 0; r < C; ++r) {
          ASSERT_EQ(list.token[(g * E + e) * C + r], g * G + expected[r]);
          ASSERT_EQ(list.expert[(g * E + e) * C + r], e);
        }
      }
  }
}

TEST(ExpertChoiceSelect, ATokenWithNaNScoresIsTakenLast) {
  EXPECT_EQ(expert_choice<double>({kNaN, 1, 2}, 1, 2, 3).token, (Ids{2, 1}));
  EXPECT_EQ(expert_choice<double>({kNaN, 1, 2}, 1, 3, 3).token, (Ids{2, 1, 0}));
}

TEST(Selectors, NoTokensGiveAnEmptyList) {
  EXPECT_EQ(topk_of<float>({}, 4, 2).entries(), 0);
  EXPECT_EQ(top_p<float>({}, 4, .5, 2).entries(), 0);
  EXPECT_EQ(expert_choice<float>({}, 4, 2, 1).entries(), 0);
}

TEST(Selectors, ListsDoNotDependOnTheNumberOfThreads) {
  const std::vector<float> score = random_normal<float>(1000 * 96, 9);
  expect_same_with_any_number_of_threads([&] { return grouped(score, 96, 6, 8, 4, 2).expert; });
  expect_same_with_any_number_of_threads(
      [&] { return top_p(scores_of(score, 96, ScoreLink::kSoftmax), 96, .3, 9).expert; });
  expect_same_with_any_number_of_threads([&] { return expert_choice(score, 96, 30, 500).token; });
}

}  // namespace
}  // namespace sy
