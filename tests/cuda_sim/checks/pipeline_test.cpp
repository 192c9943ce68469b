// A ring of stages between a thread that loads and a warpgroup that multiplies: right under every schedule, and each
// omission that such a kernel can suffer from is reported under every schedule.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/hopper/mbarrier.cuh"
#include "kernels/cuda/hopper/tensor_copy.cuh"
#include "kernels/cuda/hopper/tensor_map.cuh"
#include "kernels/cuda/hopper/wgmma.cuh"
#include "tests/cuda_sim/checks/block_run.h"

namespace {

using namespace sy::kernels::cuda;
using sy::bf16;
using sy::test::fault_in_block;
using sy::test::kSchedules;

enum class Mistake {
  kNone,
  kNoWaitForEmpty,
  kNoWaitForFull,
  kFlippedParityOfFull,
  kFlippedParityOfEmpty,
  kReleaseBeforeWait,
  kReleaseOfTheStageInFlight,
  kTooFewBytes,
  kTooManyBytes,
};

constexpr uint32_t kStages = 2, kBlocks = 6, kTileBytes = 64 * 64 * 2;
constexpr uint32_t kFirstStage = 1024, kShared = kFirstStage + kStages * 2 * kTileBytes;

struct Operands {
  std::vector<bf16> a = std::vector<bf16>(64 * 64 * kBlocks), b = a;
  Operands() {
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = bf16(static_cast<float>(static_cast<int>(i * 7 % 11) - 5));
      b[i] = bf16(static_cast<float>(static_cast<int>(i * 5 % 13) - 6));
    }
  }
  float product(int m, int n) const {
    float sum = 0;
    for (uint32_t k = 0; k < 64 * kBlocks; ++k) sum += float(a[m * 64 * kBlocks + k]) * float(b[n * 64 * kBlocks + k]);
    return sum;
  }
};

void load_blocks(const CUtensorMap& a, const CUtensorMap& b, uint32_t shared, Mistake mistake) {
  for (uint32_t q = 0; q < kBlocks; ++q) {
    const uint32_t s = q % kStages, parity = q / kStages & 1, tiles = shared + kFirstStage + s * 2 * kTileBytes;
    const uint32_t full = shared + 16 * s, empty = full + 8;
    if (mistake != Mistake::kNoWaitForEmpty)
      mbarrier_wait(empty, parity ^ (mistake == Mistake::kFlippedParityOfEmpty ? 0 : 1));
    const uint32_t bytes = 2 * kTileBytes;
    mbarrier_arrive_expect_tx(full, mistake == Mistake::kTooFewBytes    ? bytes - 16
                                    : mistake == Mistake::kTooManyBytes ? bytes + 16
                                                                        : bytes);
    tensor_load(tiles, &a, full, static_cast<int>(q) * 64, 0);
    tensor_load(tiles + kTileBytes, &b, full, static_cast<int>(q) * 64, 0);
  }
}

void multiply_blocks(float (&acc)[32], uint32_t shared, Mistake mistake) {
  const bool releases = threadIdx.x % 128 == 0;
  for (uint32_t q = 0; q < kBlocks; ++q) {
    const uint32_t s = q % kStages, parity = q / kStages & 1, tiles = shared + kFirstStage + s * 2 * kTileBytes;
    const uint32_t full = shared + 16 * s, empty = full + 8, empty_before = shared + 16 * ((q + 1) % kStages) + 8;
    if (mistake != Mistake::kNoWaitForFull)
      mbarrier_wait(full, parity ^ (mistake == Mistake::kFlippedParityOfFull ? 1 : 0));
    wgmma_fence();
    for (uint32_t k = 0; k < 4; ++k)
      wgmma<64>(acc, advance(k_major_descriptor<128>(tiles), 32 * k),
                advance(k_major_descriptor<128>(tiles + kTileBytes), 32 * k), q > 0 || k > 0);
    wgmma_commit();
    if (mistake == Mistake::kReleaseBeforeWait && releases) mbarrier_arrive(empty);
    wgmma_wait<1>();
    if (mistake == Mistake::kReleaseOfTheStageInFlight && releases) mbarrier_arrive(empty);
    if (mistake != Mistake::kReleaseBeforeWait && mistake != Mistake::kReleaseOfTheStageInFlight && q > 0 && releases)
      mbarrier_arrive(empty_before);
  }
  wgmma_wait<0>();
}

// The fault's text; d [64][64] is the product if there was none.
std::string run(const Operands& operands, Mistake mistake, uint64_t seed, std::vector<float>* d) {
  const CUtensorMap a = matrix_map(operands.a.data(), 64, 64 * kBlocks, 64);
  const CUtensorMap b = matrix_map(operands.b.data(), 64, 64 * kBlocks, 64);
  d->assign(64 * 64, 0);
  return fault_in_block(
      256, kShared,
      [&] {
        const uint32_t shared = shared_address(dynamic_shared<unsigned char>());
        if (threadIdx.x == 0) {
          for (uint32_t s = 0; s < kStages; ++s)
            mbarrier_init(shared + 16 * s, 1), mbarrier_init(shared + 16 * s + 8, 1);
          fence_mbarrier_init();
        }
        __syncthreads();
        if (threadIdx.x == 0) load_blocks(a, b, shared, mistake);
        if (threadIdx.x < 128) return;
        float acc[32];
        multiply_blocks(acc, shared, mistake);
        for (int i = 0; i < 32; ++i) {
          const int t = static_cast<int>(threadIdx.x) - 128, row = 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2);
          (*d)[row * 64 + 8 * (i / 4) + 2 * (t % 4) + i % 2] = acc[i];
        }
      },
      seed);
}

TEST(Pipeline, IsExactUnderEverySchedule) {
  const Operands operands;
  std::vector<float> d;
  for (const uint64_t seed : kSchedules) {
    EXPECT_EQ(run(operands, Mistake::kNone, seed, &d), "") << "schedule " << seed;
    for (int m = 0; m < 64; ++m)
      for (int n = 0; n < 64; ++n) ASSERT_EQ(d[m * 64 + n], operands.product(m, n)) << m << ' ' << n;
  }
}

TEST(Pipeline, EveryMistakeIsReportedUnderEverySchedule) {
  const Operands operands;
  std::vector<float> d;
  for (const Mistake mistake : {Mistake::kNoWaitForEmpty, Mistake::kNoWaitForFull, Mistake::kFlippedParityOfFull,
                                Mistake::kFlippedParityOfEmpty, Mistake::kReleaseBeforeWait,
                                Mistake::kReleaseOfTheStageInFlight, Mistake::kTooFewBytes, Mistake::kTooManyBytes})
    for (const uint64_t seed : kSchedules)
      EXPECT_NE(run(operands, mistake, seed, &d), "")
          << "mistake " << static_cast<int>(mistake) << " schedule " << seed;
}

TEST(Pipeline, MistakesAreNamed) {
  const Operands operands;
  std::vector<float> d;
  EXPECT_FAULT(run(operands, Mistake::kNoWaitForFull, 0, &d), "wgmma reads");
  EXPECT_FAULT(run(operands, Mistake::kReleaseBeforeWait, 0, &d), "an asynchronous unit is still to read");
  EXPECT_FAULT(run(operands, Mistake::kReleaseOfTheStageInFlight, 0, &d), "an asynchronous unit is still to read");
  EXPECT_FAULT(run(operands, Mistake::kFlippedParityOfEmpty, 0, &d), "waits for parity 0 of mbarrier");
  EXPECT_FAULT(run(operands, Mistake::kTooManyBytes, 0, &d), "0 of 1 arrivals outstanding, 16 bytes outstanding");
}

}  // namespace
