// mbarriers of simulated CUDA against traces worked out by hand from the PTX rules, and the faults they must report.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/hopper/copy_async.cuh"
#include "kernels/cuda/hopper/mbarrier.cuh"
#include "tests/cuda_sim/checks/block_run.h"
#include "tests/cuda_sim/units.h"

namespace {

using namespace sy::kernels::cuda;
using sy::cuda_sim::mbarrier_complete_tx;
using sy::test::fault_in_block;
using sy::test::kSchedules;

constexpr size_t kShared = 4096;

uint32_t shared_base() { return shared_address(dynamic_shared<unsigned char>()); }

void expect_state(uint32_t barrier, int64_t phase, int64_t pending, int64_t tx) {
  const auto s = sy::cuda_sim::mbarrier_state(barrier);
  EXPECT_EQ(s.phase, phase);
  EXPECT_EQ(s.pending, pending);
  EXPECT_EQ(s.tx, tx);
}

TEST(Mbarrier, BytesMayCompleteBeforeTheyAreExpected) {
  EXPECT_EQ(fault_in_block(1, kShared,
                           [] {
                             const uint32_t b = shared_base();
                             mbarrier_init(b, 1);
                             expect_state(b, 0, 1, 0);
                             EXPECT_FALSE(mbarrier_try_wait(b, 0));
                             EXPECT_TRUE(mbarrier_try_wait(b, 1));
                             mbarrier_complete_tx(b, 16384);
                             expect_state(b, 0, 1, -16384);
                             EXPECT_FALSE(mbarrier_try_wait(b, 0));
                             mbarrier_arrive_expect_tx(b, 32768);
                             expect_state(b, 0, 0, 16384);
                             mbarrier_complete_tx(b, 16384);
                             expect_state(b, 1, 1, 0);
                             EXPECT_TRUE(mbarrier_try_wait(b, 0));
                             EXPECT_FALSE(mbarrier_try_wait(b, 1));
                           }),
            "");
}

TEST(Mbarrier, APhaseDoesNotEndWhileMoreBytesHaveComeThanWereExpected) {
  EXPECT_EQ(fault_in_block(1, kShared,
                           [] {
                             const uint32_t b = shared_base();
                             mbarrier_init(b, 1);
                             mbarrier_complete_tx(b, 16);
                             mbarrier_arrive(b);
                             expect_state(b, 0, 0, -16);
                             EXPECT_FALSE(mbarrier_try_wait(b, 0));
                             mbarrier_expect_tx(b, 16);
                             expect_state(b, 1, 1, 0);
                           }),
            "");
}

TEST(Mbarrier, AStageFedByGatheringThreadsAndACopyWaitsForAll) {
  EXPECT_EQ(fault_in_block(1, kShared,
                           [] {
                             const uint32_t b = shared_base();
                             mbarrier_init(b, 129);
                             for (int i = 0; i < 127; ++i) copy_async_arrive_noinc(b);
                             while (sy::cuda_sim::mbarrier_state(b).pending > 2) mbarrier_try_wait(b, 0);
                             expect_state(b, 0, 2, 0);
                             mbarrier_arrive_expect_tx(b, 16384);
                             expect_state(b, 0, 1, 16384);
                             mbarrier_complete_tx(b, 16384);
                             expect_state(b, 0, 1, 0);
                             copy_async_arrive_noinc(b);
                             mbarrier_wait(b, 0);
                             expect_state(b, 1, 129, 0);
                           }),
            "");
}

TEST(Mbarrier, ACopyArrivalThatInitDoesNotCountOnlyDelaysThePhase) {
  alignas(16) static const unsigned char source[16] = {1};
  for (const uint64_t seed : kSchedules)
    EXPECT_EQ(fault_in_block(
                  1, kShared,
                  [] {
                    const uint32_t b = shared_base();
                    mbarrier_init(b, 1);
                    copy_async_16(b + 16, source);
                    copy_async_arrive(b);
                    mbarrier_arrive(b);
                    mbarrier_wait(b, 0);
                    expect_state(b, 1, 1, 0);
                    EXPECT_EQ(dynamic_shared<unsigned char>()[16], 1);
                  },
                  seed),
              "");
  const std::string text = fault_in_block(1, kShared, [] {
    const uint32_t b = shared_base();
    mbarrier_init(b, 1);
    copy_async_16(b + 16, source);
    copy_async_arrive(b);
    mbarrier_wait(b, 0);
  });
  EXPECT_FAULT(text, "1 of 1 arrivals outstanding");
}

TEST(Mbarrier, AWaiterTwoPhasesBehindHangsAndTheReportSaysSo) {
  const std::string text = fault_in_block(1, kShared, [] {
    const uint32_t b = shared_base();
    mbarrier_init(b, 2);
    EXPECT_TRUE(mbarrier_try_wait(b, 1));
    mbarrier_arrive(b), mbarrier_arrive(b);
    expect_state(b, 1, 2, 0);
    EXPECT_TRUE(mbarrier_try_wait(b, 0));
    mbarrier_arrive(b), mbarrier_arrive(b);
    expect_state(b, 2, 2, 0);
    EXPECT_FALSE(mbarrier_try_wait(b, 0));
    mbarrier_wait(b, 0);
  });
  EXPECT_FAULT(text, "whose last but one phase has ended with it");
}

TEST(Mbarrier, PhasesThatNobodyWaitsForAreReported) {
  const std::string text = fault_in_block(1, kShared, [] {
    mbarrier_init(shared_base(), 1);
    mbarrier_arrive(shared_base());
    mbarrier_arrive(shared_base());
  });
  EXPECT_FAULT(text, "nobody has waited for the first");
}

TEST(Mbarrier, ARingPassesEveryValueInOrder) {
  constexpr int kStages = 4, kItems = 11;
  for (const uint64_t seed : kSchedules) {
    std::vector<int> received;
    const auto body = [&] {
      __shared__ uint64_t full[kStages];
      __shared__ uint64_t empty[kStages];
      __shared__ int stage[kStages];
      if (threadIdx.x == 0)
        for (int s = 0; s < kStages; ++s)
          mbarrier_init(shared_address(full + s), 1), mbarrier_init(shared_address(empty + s), 1);
      __syncthreads();
      for (uint32_t q = 0; q < kItems; ++q) {
        const uint32_t s = q % kStages, parity = q / kStages & 1;
        if (threadIdx.x == 0) {
          mbarrier_wait(shared_address(empty + s), parity ^ 1);
          stage[s] = static_cast<int>(q);
          mbarrier_arrive(shared_address(full + s));
        } else {
          mbarrier_wait(shared_address(full + s), parity);
          received.push_back(stage[s]);
          mbarrier_arrive(shared_address(empty + s));
        }
      }
    };
    EXPECT_EQ(fault_in_block(2, 0, body, seed), "");
    ASSERT_EQ(received.size(), static_cast<size_t>(kItems));
    for (int q = 0; q < kItems; ++q) EXPECT_EQ(received[q], q);
  }
}

TEST(MbarrierFaults, MisuseIsReported) {
  const auto fault = [](const std::function<void(uint32_t)>& body) {
    return fault_in_block(1, kShared, [&] { body(shared_base()); });
  };
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_arrive(b); }), "there is no mbarrier");
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_init(b + 4, 1); }), "not a multiple of 8");
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_init(b, 0); }), "for 0 arrivals");
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_init(b, 1), mbarrier_init(b, 1); }), "without inval");
  EXPECT_EQ(fault([](uint32_t b) { mbarrier_init(b, 1), mbarrier_inval(b), mbarrier_init(b, 2); }), "");
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_init(b, 1), mbarrier_wait(b, 2); }), "parity 2");
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_init(b, 2), mbarrier_arrive(b); }), "exits inside a phase");
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_init(b, 1), mbarrier_expect_tx(b, 1 << 20); }),
               "bytes expected at once");
  EXPECT_FAULT(fault([](uint32_t b) { mbarrier_init(b, 1), mbarrier_arrive_expect_tx(b, 16), mbarrier_arrive(b); }),
               "more arrivals than");
}

TEST(MbarrierFaults, ADeadlockNamesTheBarriersState) {
  const std::string text = fault_in_block(1, kShared, [] {
    mbarrier_init(shared_base(), 1);
    mbarrier_arrive_expect_tx(shared_base(), 32);
    mbarrier_complete_tx(shared_base(), 16);
    mbarrier_wait(shared_base(), 0);
  });
  EXPECT_FAULT(text, "waits for parity 0 of mbarrier");
  EXPECT_FAULT(text, "phase 0, 0 of 1 arrivals outstanding, 16 bytes outstanding");
}

}  // namespace
