// shard_assignment: a worked list, then the property that shards share a micro-batch's entries out among them.
#include "kernels/moe/shard_assignment.h"

#include <gtest/gtest.h>

#include "tests/kernels/moe/ragged_routing.h"

namespace sy {
namespace {

using kernels::Cpu;
using namespace sy::test;
using Ids = std::vector<int32_t>;

struct Shard {
  Ids token, expert;
};

// `kept` may be empty. The outputs start with garbage: an element left unset is seen.
Shard shard_of(const Ids& token, const Ids& expert, const std::vector<uint8_t>& kept, int64_t first_token,
               int64_t tokens, bool only_dropped) {
  Shard shard{Ids(token.size(), -99), Ids(token.size(), -99)};
  kernels::shard_assignment(Cpu{}, {.token = token.data(),
                                    .expert = expert.data(),
                                    .kept = kept.empty() ? nullptr : kept.data(),
                                    .token_out = shard.token.data(),
                                    .expert_out = shard.expert.data(),
                                    .entries = static_cast<int64_t>(token.size()),
                                    .first_token = first_token,
                                    .tokens = tokens,
                                    .only_dropped = only_dropped});
  return shard;
}

TEST(ShardAssignment, KeepsTheShardsEntriesInPlaceAndMakesHolesOfTheRest) {
  const Ids token = {0, 2, 3, -1, 5, 3, 4, 1}, expert = {6, 1, 0, -1, 2, 5, 3, 4};
  const std::vector<uint8_t> kept = {1, 1, 0, 0, 0, 1, 0, 1};
  const Shard all = shard_of(token, expert, kept, 2, 3, false);
  EXPECT_EQ(all.token, (Ids{0, 0, 1, 0, 0, 1, 2, 0}));
  EXPECT_EQ(all.expert, (Ids{-1, 1, 0, -1, -1, 5, 3, -1}));
  const Shard dropped = shard_of(token, expert, kept, 2, 3, true);
  EXPECT_EQ(dropped.token, (Ids{0, 0, 1, 0, 0, 0, 2, 0}));
  EXPECT_EQ(dropped.expert, (Ids{-1, -1, 0, -1, -1, -1, 3, -1}));
}

TEST(ShardAssignment, AHoleWithATokenInTheShardStaysAHole) {
  const Shard shard = shard_of({1, 1}, {-1, 0}, {0, 0}, 0, 2, true);
  EXPECT_EQ(shard.token, (Ids{0, 1}));
  EXPECT_EQ(shard.expert, (Ids{-1, 0}));
}

TEST(ShardAssignment, WithoutACapacityNothingIsDropped) {
  const Shard shard = shard_of({0, 1}, {3, 2}, {}, 0, 2, true);
  EXPECT_EQ(shard.token, (Ids{0, 0}));
  EXPECT_EQ(shard.expert, (Ids{-1, -1}));
}

TEST(ShardAssignment, MayOverwriteItsInputs) {
  Ids token = {0, 2, 3}, expert = {6, 1, 0};
  kernels::shard_assignment(Cpu{}, {.token = token.data(),
                                    .expert = expert.data(),
                                    .token_out = token.data(),
                                    .expert_out = expert.data(),
                                    .entries = 3,
                                    .first_token = 1,
                                    .tokens = 2});
  EXPECT_EQ(token, (Ids{0, 1, 0}));
  EXPECT_EQ(expert, (Ids{-1, 1, -1}));
}

TEST(ShardAssignment, EveryEntryBelongsToExactlyOneOfTheShards) {
  for (const RaggedRouting& r : ragged_routings())
    for (const int64_t shards : {1, 2, 3, 5})
      for (const bool only_dropped : {false, true}) {
        SCOPED_TRACE(testing::Message() << r.name << ", " << shards << " shards");
        Ids token(r.entries, -1), expert(r.entries, -1);
        for (int64_t s = 0; s < shards; ++s) {
          // Uneven shards; with fewer tokens than shards some are empty.
          const int64_t first = r.tokens * s / shards, last = r.tokens * (s + 1) / shards;
          const Shard shard = shard_of(r.token, r.expert, r.kept, first, last - first, only_dropped);
          for (int64_t n = 0; n < r.entries; ++n) {
            if (shard.expert[n] < 0) {
              EXPECT_EQ(shard.token[n], 0);
              continue;
            }
            EXPECT_EQ(expert[n], -1) << "entry " << n << " lies in two shards";
            ASSERT_LT(shard.token[n], last - first);
            token[n] = shard.token[n] + static_cast<int32_t>(first);
            expert[n] = shard.expert[n];
          }
        }
        for (int64_t n = 0; n < r.entries; ++n) {
          const bool wanted = r.expert[n] >= 0 && (!only_dropped || !r.kept[n]);
          EXPECT_EQ(token[n], wanted ? r.token[n] : -1) << "entry " << n;
          EXPECT_EQ(expert[n], wanted ? r.expert[n] : -1) << "entry " << n;
        }
      }
}

}  // namespace
}  // namespace sy
