#include "trainer/sampler.h"

#include <gtest/gtest.h>

#include <map>

#include "csrc/core/check.h"

namespace sy {
namespace {

// First sample of every micro-batch of a step, by micro-batch, as the ranks of a mesh would run them.
std::map<int64_t, int64_t> step_of(int64_t dp_size, int64_t consumed) {
  std::map<int64_t, int64_t> first;
  for (int64_t rank = 0; rank < dp_size; ++rank) {
    const Sampler sampler(2, 16, dp_size, rank);
    for (int64_t wave = 0; wave < sampler.num_waves(); ++wave) {
      const int64_t micro_batch = sampler.micro_batch(wave);
      EXPECT_TRUE(first.emplace(micro_batch, sampler.first_sample(consumed, micro_batch)).second)
          << "micro-batch " << micro_batch << " is run twice";
    }
  }
  return first;
}

TEST(Sampler, MicroBatchesHoldTheSameSamplesOnEveryMesh) {
  for (const int64_t consumed : {0, 16, 4096}) {
    const auto one_rank = step_of(1, consumed);
    ASSERT_EQ(one_rank.size(), 8u);
    for (int64_t m = 0; m < 8; ++m) EXPECT_EQ(one_rank.at(m), consumed + 2 * m);
    for (const int64_t dp_size : {2, 4, 8}) EXPECT_EQ(step_of(dp_size, consumed), one_rank);
  }
}

TEST(Sampler, AWaveRunsConsecutiveMicroBatches) {
  EXPECT_EQ(Sampler(2, 16, 4, 0).num_waves(), 2);
  for (int64_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(Sampler(2, 16, 4, rank).micro_batch(0), rank);
    EXPECT_EQ(Sampler(2, 16, 4, rank).micro_batch(1), 4 + rank);
  }
}

TEST(Sampler, StaysExactPastThirtyTwoBits) {
  const int64_t consumed = int64_t{1} << 40;
  EXPECT_EQ(Sampler(2, 16, 2, 1).first_sample(consumed, 7), consumed + 14);
}

TEST(Sampler, BatchesThatDoNotDivideAreRefusedWithTheNumbers) {
  EXPECT_NO_THROW(Sampler(4, 24, 3, 0));
  EXPECT_THROW(Sampler(4, 24, 4, 0), UserError);
  EXPECT_THROW(Sampler(0, 24, 1, 0), UserError);
  EXPECT_THROW(Sampler(4, 0, 1, 0), UserError);
  try {
    Sampler(4, 24, 4, 0);
  } catch (const UserError& error) {
    EXPECT_STREQ(
        error.what(),
        "train.global_batch_size 24 is not a multiple of train.micro_batch_size 4 x 4 data-parallel ranks = 16");
  }
}

}  // namespace
}  // namespace sy
