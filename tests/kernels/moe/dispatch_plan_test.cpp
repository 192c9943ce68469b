// The dispatch plan: lists worked by hand, the contract recomputed the slow way, and whole groups of ranks that send to
// each other through it.
#include "kernels/moe/dispatch_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>

#include "csrc/core/check.h"
#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using namespace sy::test;
using Ids = std::vector<int32_t>;

struct Group {
  int64_t expert_ranks, tensor_ranks, experts_per_rank;
  int64_t ranks() const { return expert_ranks * tensor_ranks; }
  int64_t experts() const { return expert_ranks * experts_per_rank; }
  bool holds(int64_t rank, int32_t expert) const { return expert / experts_per_rank == rank / tensor_ranks; }
};

// One rank's tokens and their entries.
struct Local {
  int64_t tokens = 0;
  Assignment list;
  std::vector<uint8_t> kept;
};

// The two lists of dispatch_plan; they start with garbage.
struct Plan {
  Assignment pairs, copies;
  Plan(const Local& local, const Group& group)
      : pairs{Ids(local.tokens * group.ranks(), -99), Ids(local.tokens * group.ranks(), -99)},
        copies{Ids(local.list.entries() * group.tensor_ranks, -99),
               Ids(local.list.entries() * group.tensor_ranks, -99)} {
    kernels::dispatch_plan(Cpu{}, {.token = local.list.token.data(),
                                   .expert = local.list.expert.data(),
                                   .kept = local.kept.empty() ? nullptr : local.kept.data(),
                                   .pair_token = pairs.token.data(),
                                   .pair_rank = pairs.expert.data(),
                                   .copy_entry = copies.token.data(),
                                   .copy_rank = copies.expert.data(),
                                   .entries = local.list.entries(),
                                   .tokens = local.tokens,
                                   .expert_ranks = group.expert_ranks,
                                   .tensor_ranks = group.tensor_ranks,
                                   .experts_per_rank = group.experts_per_rank});
  }
};

// What a rank sends: the plan, both indices by destination, and the packed entries.
struct Sender {
  Plan plan;
  Index pairs, copies;
  Ids payload;
  Sender(const Local& local, const Group& group)
      : plan(local, group),
        pairs(plan.pairs, local.tokens, group.ranks(), group.ranks(), 1),
        copies(plan.copies, local.list.entries(), group.ranks(), group.ranks(), 1),
        payload(2 * copies.rows, -99) {
    kernels::pack_entries(Cpu{}, {.token = local.list.token.data(),
                                  .expert = local.list.expert.data(),
                                  .copy_rank = plan.copies.expert.data(),
                                  .row_entry = copies.row_entry.data(),
                                  .pair_row = pairs.entry_row.data(),
                                  .pair_start = pairs.seg_start.data(),
                                  .payload = payload.data(),
                                  .rows = copies.rows,
                                  .expert_ranks = group.expert_ranks,
                                  .tensor_ranks = group.tensor_ranks,
                                  .experts_per_rank = group.experts_per_rank});
  }
};

// Two entries in nine are holes or dropped; a token may hold an expert twice, and several experts of one rank.
Local random_local(int64_t tokens, int64_t per_token, const Group& group, int32_t first_expert, int32_t last_expert,
                   uint64_t seed) {
  const int64_t entries = tokens * per_token;
  Local local{tokens, {Ids(entries), random_integers(entries, first_expert, last_expert, seed)}, {}};
  const Ids dice = random_integers(entries, 0, 8, seed + 1);
  for (int64_t n = 0; n < entries; ++n) {
    // Neither in token order nor in expert order.
    local.list.token[n] = static_cast<int32_t>(n * 7 % entries % tokens);
    if (dice[n] == 0) local.list.token[n] = 0, local.list.expert[n] = -1;
    local.kept.push_back(dice[n] != 1);
  }
  EXPECT_LT(last_expert, group.experts());
  return local;
}

TEST(DispatchPlan, TwoByTwoRanksWorkedByHand) {
  // Ranks 0 and 1 hold experts 0 and 1, ranks 2 and 3 experts 2 and 3. Token 0 needs two experts of the first pair of
  // ranks and travels to each rank once; entry 3 is dropped, entry 4 a hole.
  const Group group{2, 2, 2};
  const Local local{3, {{0, 0, 1, 1, 0, 2}, {1, 0, 3, 0, -1, 2}}, {1, 1, 1, 0, 1, 1}};
  const Sender sender(local, group);
  EXPECT_EQ(sender.plan.pairs.token, (Ids{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2}));
  EXPECT_EQ(sender.plan.pairs.expert, (Ids{0, 1, -1, -1, -1, -1, 2, 3, -1, -1, 2, 3}));
  EXPECT_EQ(sender.plan.copies.token, (Ids{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}));
  EXPECT_EQ(sender.plan.copies.expert, (Ids{0, 1, 0, 1, 2, 3, -1, -1, -1, -1, 2, 3}));
  EXPECT_EQ(sender.pairs.seg_count, (Ids{1, 1, 2, 2}));
  EXPECT_EQ(sender.copies.seg_count, (Ids{2, 2, 2, 2}));
  EXPECT_EQ(sender.payload, (Ids{0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, -1, -1, -1, -1, -1, -1, -1, -1}));
}

TEST(DispatchPlan, RandomListsKeepTheContract) {
  for (const Group& group : {Group{1, 1, 5}, Group{3, 1, 4}, Group{1, 3, 4}, Group{4, 2, 1}, Group{2, 3, 35}})
    for (const bool with_kept : {true, false}) {
      Local local = random_local(61, 3, group, 0, static_cast<int32_t>(group.experts() - 1), 3);
      if (!with_kept) local.kept.clear();
      const Plan plan(local, group);
      Ids pair_rank(61 * group.ranks(), -1);
      for (int64_t n = 0; n < local.list.entries(); ++n)
        for (int64_t j = 0; j < group.tensor_ranks; ++j) {
          const int32_t expert = local.list.expert[n];
          const bool travels = expert >= 0 && (!with_kept || local.kept[n]);
          const int64_t rank = expert / group.experts_per_rank * group.tensor_ranks + j;
          EXPECT_EQ(plan.copies.token[n * group.tensor_ranks + j], n);
          EXPECT_EQ(plan.copies.expert[n * group.tensor_ranks + j], travels ? rank : -1);
          if (travels) pair_rank[local.list.token[n] * group.ranks() + rank] = static_cast<int32_t>(rank);
        }
      EXPECT_EQ(plan.pairs.expert, pair_rank);
      for (int64_t i = 0; i < 61 * group.ranks(); ++i) EXPECT_EQ(plan.pairs.token[i], i / group.ranks());
    }
}

using Sent = std::array<int64_t, 3>;  // source rank, its token, expert

// What rank `receiver` makes of everything sent to it, in order.
std::vector<Sent> received_by(int64_t receiver, const std::vector<Sender>& senders, const Group& group) {
  Ids payload, entry_start{0}, row_start;
  std::vector<std::array<int64_t, 2>> row_of;  // source rank and token of every received row
  for (size_t s = 0; s < senders.size(); ++s) {
    const Index &pairs = senders[s].pairs, &copies = senders[s].copies;
    row_start.push_back(static_cast<int32_t>(row_of.size()));
    for (int32_t i = 0; i < pairs.seg_count[receiver]; ++i)
      row_of.push_back({static_cast<int64_t>(s), pairs.row_token[pairs.seg_start[receiver] + i]});
    const auto begin = senders[s].payload.begin() + 2 * copies.seg_start[receiver];
    payload.insert(payload.end(), begin, begin + 2 * copies.seg_count[receiver]);
    entry_start.push_back(static_cast<int32_t>(payload.size() / 2));
  }
  EXPECT_EQ(std::adjacent_find(row_of.begin(), row_of.end(), std::greater_equal<>()), row_of.end())
      << "a token travels once, in token order";
  const int64_t count = entry_start.back(), bound = count + 3;
  payload.resize(2 * bound, 12345);
  Ids token(bound, -99), expert(bound, -99);
  kernels::unpack_entries(Cpu{}, {.payload = payload.data(),
                                  .entry_start = entry_start.data(),
                                  .row_start = row_start.data(),
                                  .token_out = token.data(),
                                  .expert_out = expert.data(),
                                  .entries = bound,
                                  .ranks = group.ranks()});
  for (int64_t i = count; i < bound; ++i) {
    EXPECT_EQ(token[i], 0);
    EXPECT_EQ(expert[i], -1);
  }
  std::vector<Sent> result;
  for (int64_t i = 0; i < count; ++i) {
    const auto [source, source_token] = row_of.at(token[i]);
    EXPECT_TRUE(expert[i] >= 0 && expert[i] < group.experts_per_rank);
    result.push_back({source, source_token, receiver / group.tensor_ranks * group.experts_per_rank + expert[i]});
  }
  return result;
}

// Every rank receives exactly the kept entries of its experts, by source and in the order of the source's list.
void expect_all_arrives(const Group& group, const std::vector<Local>& locals) {
  std::vector<Sender> senders;
  for (const Local& local : locals) senders.emplace_back(local, group);
  for (int64_t g = 0; g < group.ranks(); ++g) {
    std::vector<Sent> expected;
    for (size_t s = 0; s < locals.size(); ++s)
      for (int64_t n = 0; n < locals[s].list.entries(); ++n) {
        const int32_t expert = locals[s].list.expert[n];
        if (expert >= 0 && locals[s].kept[n] && group.holds(g, expert))
          expected.push_back({static_cast<int64_t>(s), locals[s].list.token[n], expert});
      }
    EXPECT_EQ(received_by(g, senders, group), expected) << "rank " << g;
  }
}

TEST(DispatchPlan, EveryEntryArrivesAtEveryRankOfItsExpertAndFindsItsTokensRow) {
  for (const Group& group : {Group{1, 1, 4}, Group{2, 1, 3}, Group{1, 2, 5}, Group{3, 2, 4}, Group{4, 3, 20}}) {
    SCOPED_TRACE(testing::Message() << group.expert_ranks << " x " << group.tensor_ranks);
    std::vector<Local> locals;
    for (int64_t s = 0; s < group.ranks(); ++s)  // uneven numbers of tokens
      locals.push_back(
          random_local(5 + 11 * s, 2 + s % 3, group, 0, static_cast<int32_t>(group.experts() - 1), 40 + s));
    expect_all_arrives(group, locals);
  }
}

TEST(DispatchPlan, RanksWithoutTokensOrWithoutChosenExpertsTakePart) {
  const Group group{4, 2, 3};
  std::vector<Local> locals(group.ranks());
  locals[2] = random_local(30, 2, group, 4, 4, 7);         // one expert takes all
  locals[5] = random_local(17, 4, group, 3, 11, 8);        // the first rank's experts get none
  locals[6] = {4, {Ids(4, 0), Ids(4, -1)}, {1, 1, 1, 1}};  // tokens, but only holes
  locals[7] = {2, {{0, 1}, {0, 11}}, {0, 0}};              // everything dropped
  expect_all_arrives(group, locals);
  expect_all_arrives(group, std::vector<Local>(group.ranks()));
}

TEST(DispatchPlan, AnExpertOrTokenOutsideItsRangeIsAnError) {
  EXPECT_THROW(Plan({1, {{0}, {6}}, {}}, {2, 2, 3}), Error);
  EXPECT_THROW(Plan({1, {{1}, {0}}, {}}, {2, 2, 3}), Error);
  EXPECT_NO_THROW(Plan({1, {{7}, {-1}}, {}}, {2, 2, 3}));
}

}  // namespace
}  // namespace sy
