// Named barriers, the elected lane and the register pool of simulated CUDA, and the hangs they must report.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/hopper/warpgroup.cuh"
#include "tests/cuda_sim/checks/block_run.h"

namespace {

using namespace sy::kernels::cuda;
using sy::test::fault_in_block;
using sy::test::kSchedules;

TEST(NamedBarrier, TwoWarpsTakeTurns) {
  for (const uint64_t seed : kSchedules) {
    std::vector<int> turns;
    const std::string fault = fault_in_block(
        64, 0,
        [&] {
          const int warp = static_cast<int>(threadIdx.x) / 32;
          if (warp == 1) named_barrier_arrive(1, 64);
          for (int turn = 0; turn < 3; ++turn) {
            named_barrier_sync(1 + warp, 64);
            if (threadIdx.x % 32 == 0) turns.push_back(warp);
            __syncwarp();
            if (turn < 2 || warp == 0) named_barrier_arrive(2 - warp, 64);
          }
        },
        seed);
    EXPECT_EQ(fault, "");
    EXPECT_EQ(turns, (std::vector<int>{0, 1, 0, 1, 0, 1}));
  }
}

TEST(NamedBarrier, WrongCountsAndSingleLanesAreReported) {
  EXPECT_FAULT(fault_in_block(64, 0, [] { named_barrier_sync(3, 96); }), "named barrier 3, where 64 of 96 threads are");
  EXPECT_FAULT(fault_in_block(64, 0, [] { named_barrier_sync(3, threadIdx.x < 32 ? 64 : 96); }), "of 64 and of 96");
  EXPECT_FAULT(fault_in_block(32, 0, [] { named_barrier_sync(0, 32); }), "1 to 15 are free");
  EXPECT_FAULT(fault_in_block(32, 0,
                              [] {
                                if (threadIdx.x == 0) named_barrier_sync(1, 32);
                              }),
               "exited");
}

TEST(ElectOne, ChoosesOneLaneOfEveryWarpAndNotAlwaysTheFirst) {
  std::vector<int> lanes;
  for (const uint64_t seed : kSchedules) {
    std::vector<int> elected;
    EXPECT_EQ(fault_in_block(
                  64, 0,
                  [&] {
                    if (elect_one()) elected.push_back(static_cast<int>(threadIdx.x) % 32);
                  },
                  seed),
              "");
    ASSERT_EQ(elected.size(), 2u);
    EXPECT_EQ(elected[0], elected[1]);
    lanes.push_back(elected[0]);
  }
  EXPECT_NE(lanes.front(), lanes.back());
}

// Three warpgroups start with 168 registers each.
std::string redistribute(void (*first)(), void (*second)(), void (*third)()) {
  return fault_in_block(384, 0, [=] {
    const unsigned group = threadIdx.x / 128;
    (group == 0 ? first : group == 1 ? second : third)();
  });
}

TEST(RegisterPool, ClaimsPassOnlyIfThePoolHasTheRegisters) {
  EXPECT_EQ(redistribute(release_registers<40>, claim_registers<232>, claim_registers<232>), "");
  EXPECT_EQ(redistribute(release_registers<24>, claim_registers<240>, claim_registers<240>), "");
  EXPECT_EQ(redistribute(claim_registers<232>, release_registers<40>, claim_registers<232>), "");
  EXPECT_FAULT(redistribute([] {}, claim_registers<232>, claim_registers<240>), "are free in the block's pool");
  EXPECT_FAULT(redistribute(release_registers<56>, claim_registers<232>, claim_registers<232>), "are free in");
  EXPECT_FAULT(redistribute(
                   claim_registers<160>, [] {}, [] {}),
               "of a warpgroup that has 168");
}

}  // namespace
