// Index tables: a worked example, then every property of the contract on random lists.
#include "kernels/moe/index_build.h"

#include <gtest/gtest.h>

#include "csrc/core/check.h"
#include "tests/kernels/moe/fixture_f1.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using kernels::Cpu;
using namespace sy::test;
using Ids = std::vector<int32_t>;

// Recomputes every table the slow way and compares; `kept` and `slot_of_expert` may be empty.
void expect_contract(const Assignment& list, int64_t tokens, int64_t experts, int64_t slots, int64_t row_alignment,
                     const std::vector<uint8_t>& kept = {}, const Ids& slot_of_expert = {}) {
  const Index index(list, tokens, experts, slots, row_alignment, kept, slot_of_expert);
  Ids row_entry(index.rows, -1), row_token(index.rows, -1), entry_row(list.entries(), -1);
  int64_t row = 0;
  for (int64_t s = 0; s < slots; ++s) {
    while (row % row_alignment) ++row;
    EXPECT_EQ(index.seg_start[s], row) << "slot " << s;
    const int64_t start = row;
    for (int64_t n = 0; n < list.entries(); ++n) {
      const int32_t e = list.expert[n];
      if (e < 0 || (!kept.empty() && !kept[n]) || (slot_of_expert.empty() ? e : slot_of_expert[e]) != s) continue;
      row_entry[row] = static_cast<int32_t>(n);
      row_token[row] = list.token[n];
      entry_row[n] = static_cast<int32_t>(row++);
    }
    EXPECT_EQ(index.seg_count[s], row - start) << "slot " << s;
  }
  while (row % row_alignment) ++row;
  EXPECT_EQ(index.row_end[0], row);
  EXPECT_LE(row, index.rows);
  EXPECT_EQ(index.row_entry, row_entry);
  EXPECT_EQ(index.row_token, row_token);
  EXPECT_EQ(index.entry_row, entry_row);
  int32_t start = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    EXPECT_EQ(index.token_start[t], start);
    for (int64_t n = 0; n < list.entries(); ++n)
      if (list.expert[n] >= 0 && list.token[n] == t) {
        EXPECT_EQ(index.token_entry[start++], n);
      }
  }
  EXPECT_EQ(index.token_start[tokens], start);
  for (int64_t i = start; i < list.entries(); ++i) EXPECT_EQ(index.token_entry[i], -1);
}

// A list of `entries` with about one hole in `holes`, in no order at all.
Assignment random_list(int64_t entries, int32_t tokens, int32_t experts, int32_t holes, uint64_t seed) {
  Assignment list{random_integers(entries, 0, tokens - 1, seed), random_integers(entries, 0, experts - 1, seed + 1)};
  const Ids hole = random_integers(entries, 0, holes - 1, seed + 2);
  for (int64_t n = 0; n < entries; ++n)
    if (hole[n] == 0) list.token[n] = list.expert[n] = -1;
  return list;
}

TEST(IndexBuild, F1Top2GivesTheTablesWorkedByHand) {
  const Index index(topk_of(f1_logits(), 4, 2), 4, 4, 4, 2);
  EXPECT_EQ(index.seg_count, (Ids{2, 3, 2, 1}));
  EXPECT_EQ(index.seg_start, (Ids{0, 2, 6, 8}));
  EXPECT_EQ(index.row_end[0], 10);
  EXPECT_EQ(index.rows, 12);
  EXPECT_EQ(index.row_entry, (Ids{0, 5, 1, 2, 4, -1, 3, 6, 7, -1, -1, -1}));
  EXPECT_EQ(index.row_token, (Ids{0, 2, 0, 1, 2, -1, 1, 3, 3, -1, -1, -1}));
  EXPECT_EQ(index.entry_row, (Ids{0, 2, 3, 6, 4, 1, 7, 8}));
  EXPECT_EQ(index.token_start, (Ids{0, 2, 4, 6, 8}));
  EXPECT_EQ(index.token_entry, (Ids{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(IndexBuild, RandomListsKeepTheContractAtEveryAlignment) {
  for (int64_t alignment : {1, 3, 16, 128})
    for (int32_t experts : {1, 7, 100}) {
      expect_contract(random_list(300, 50, experts, 5, experts), 50, experts, experts, alignment);
      expect_contract(random_list(40000, 9, experts, 50, experts), 9, experts, experts, alignment);
    }
}

TEST(IndexBuild, AllTokensOnOneExpertLeaveTheOthersEmpty) {
  Assignment list{Ids(130), Ids(130, 2)};
  for (int i = 0; i < 130; ++i) list.token[i] = i;
  for (int64_t alignment : {1, 128}) expect_contract(list, 130, 4, 4, alignment);
  const Index index(list, 130, 4, 4, 128);
  EXPECT_EQ(index.seg_count, (Ids{0, 0, 130, 0}));
  EXPECT_EQ(index.seg_start, (Ids{0, 0, 0, 256}));
  EXPECT_EQ(index.row_end[0], 256);
}

TEST(IndexBuild, NoTokensAndOnlyHolesGiveNoRows) {
  for (int64_t alignment : {1, 128}) {
    expect_contract({}, 0, 4, 4, alignment);
    expect_contract({}, 3, 4, 4, alignment);
    expect_contract({Ids(9, -1), Ids(9, -1)}, 3, 4, 4, alignment);
    EXPECT_EQ(Index({Ids(9, -1), Ids(9, -1)}, 3, 4, 4, alignment).row_end[0], 0);
  }
}

TEST(IndexBuild, DroppedEntriesHaveNoRowButStayInTheTokenLists) {
  const Assignment list = random_list(500, 40, 9, 6, 11);
  const Ids draw = random_integers(500, 0, 2, 12);
  std::vector<uint8_t> kept(500);
  for (int n = 0; n < 500; ++n) kept[n] = draw[n] != 0;
  for (int64_t alignment : {1, 128}) expect_contract(list, 40, 9, 9, alignment, kept);
  expect_contract(list, 40, 9, 9, 8, std::vector<uint8_t>(500, 0));
  const Index index({{0, 0}, {1, 0}}, 1, 2, 2, 1, {0, 1});
  EXPECT_EQ(index.entry_row, (Ids{-1, 0}));
  EXPECT_EQ(index.token_entry, (Ids{0, 1}));
}

TEST(IndexBuild, ExpertsThatShareASlotShareItsSegment) {
  const Ids slot_of_expert = {2, 0, 2, 1, 0};
  for (int64_t alignment : {1, 128})
    expect_contract(random_list(200, 30, 5, 7, 13), 30, 5, 4, alignment, {}, slot_of_expert);
  const Index index({{0, 1, 2, 0}, {2, 1, 0, 3}}, 3, 5, 4, 1, {}, slot_of_expert);
  EXPECT_EQ(index.seg_count, (Ids{1, 1, 2, 0}));
  EXPECT_EQ(index.row_entry, (Ids{1, 3, 0, 2}));
}

TEST(IndexBuild, ATokenMayHoldAnExpertTwice) {
  expect_contract({{0, 0, 1, 0}, {1, 1, 1, 0}}, 2, 2, 2, 4);
  EXPECT_EQ(Index({{0, 0, 1, 0}, {1, 1, 1, 0}}, 2, 2, 2, 1).row_entry, (Ids{3, 0, 1, 2}));
}

TEST(IndexBuild, ExpertMajorListsGiveAscendingTokenLists) {
  const Assignment list{{3, 1, 0, 3, 2, 1}, {0, 0, 1, 1, 2, 2}};
  expect_contract(list, 4, 3, 3, 1);
  EXPECT_EQ(Index(list, 4, 3, 3, 1).token_entry, (Ids{2, 1, 5, 4, 0, 3}));
}

TEST(IndexBuild, TheRowBoundHoldsForTheWorstList) {
  // One entry per expert: every segment needs a whole aligned block.
  for (int64_t alignment : {1, 8, 128}) {
    Assignment list{Ids(6, 0), {0, 1, 2, 3, 4, 5}};
    EXPECT_EQ(Index(list, 1, 6, 6, alignment).row_end[0], 6 * alignment);
    EXPECT_GE(kernels::index_build_rows(6, 6, alignment), 6 * alignment);
  }
}

TEST(IndexBuild, AnExpertOrTokenOutsideItsRangeIsAnError) {
  EXPECT_THROW(Index({{0}, {4}}, 1, 4, 4, 1), Error);
  EXPECT_THROW(Index({{1}, {0}}, 1, 4, 4, 1), Error);
  EXPECT_THROW(Index({{0}, {0}}, 1, 2, 2, 1, {}, {2, 0}), Error);
}

TEST(ExpertCount, CountsEntriesAndOnlyKeptOnesWhenAsked) {
  const Assignment list = random_list(700, 50, 80, 4, 17);
  std::vector<uint8_t> kept(700);
  for (int n = 0; n < 700; ++n) kept[n] = n % 3 == 0;
  for (bool with_kept : {false, true}) {
    std::vector<int64_t> count(80, -5), expected(80);
    for (int n = 0; n < 700; ++n)
      if (list.expert[n] >= 0 && (!with_kept || kept[n])) ++expected[list.expert[n]];
    kernels::expert_count(Cpu{}, {.expert = list.expert.data(),
                                  .kept = with_kept ? kept.data() : nullptr,
                                  .count = count.data(),
                                  .entries = 700,
                                  .experts = 80});
    EXPECT_EQ(count, expected);
  }
}

TEST(ExpertCount, F1Top2HasTheGoldenCounts) {
  const Assignment list = topk_of(f1_logits(), 4, 2);
  std::vector<int64_t> count(4);
  kernels::expert_count(Cpu{}, {.expert = list.expert.data(), .count = count.data(), .entries = 8, .experts = 4});
  EXPECT_EQ(count, (std::vector<int64_t>{2, 3, 2, 1}));
}

}  // namespace
}  // namespace sy
