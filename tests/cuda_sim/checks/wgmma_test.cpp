// wgmma of simulated CUDA against positions and descriptors that do not come from our own code, and the faults it must
// report.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "kernels/cuda/hopper/copy_async.cuh"
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

TEST(WgmmaDescriptor, HasTheFieldsThatTheIsaNames) {
  EXPECT_EQ(k_major_descriptor<128>(0x8000), 0x4000004000010800u);
  EXPECT_EQ(advance(k_major_descriptor<128>(0x8000), k_step_bytes<128, Major::kK>), 0x4000004000010802u);
  EXPECT_EQ(advance(k_major_descriptor<128>(0x8000), 64 * 128), 0x4000004000010A00u);
  EXPECT_EQ(k_major_descriptor<64>(0x4000), 0x8000002000010400u);
  EXPECT_EQ(k_major_descriptor<32>(0x4000), 0xC000001000010400u);
  EXPECT_EQ(mn_major_descriptor<128>(0x10000, 64 * 128), 0x4000004002001000u);
  EXPECT_EQ(advance(mn_major_descriptor<128>(0x10000, 64 * 128), k_step_bytes<128, Major::kMn>), 0x4000004002001080u);
  EXPECT_EQ(mn_major_descriptor<128>(0x10000, 128 * 128), 0x4000004004001000u);
  EXPECT_EQ(mn_major_descriptor<64>(0x10000, 64 * 64), 0x8000002001001000u);
  EXPECT_EQ(mn_major_descriptor<32>(0x10000, 64 * 32), 0xC000001000801000u);
}

constexpr uint32_t kA = 1024, kB = kA + 64 * 128;  // bytes from the start of shared memory
constexpr size_t kShared = kB + 64 * 128;
constexpr int kN = 64, kK = 64;

using Values = std::vector<bf16>;  // 64 x 64, row-major

Values values(float (*f)(int, int)) {
  Values v(64 * 64);
  for (int row = 0; row < 64; ++row)
    for (int column = 0; column < 64; ++column) v[row * 64 + column] = bf16(f(row, column));
  return v;
}

// Element (row, column) of a 64 x 64 tile under 128-byte swizzle at a multiple of 1024 bytes, by the rule for copies:
// 16-byte chunk c of line r stands where chunk c ^ (r % 8) would.
uint32_t tile_offset(int row, int column) {
  return static_cast<uint32_t>(row * 128 + 16 * (column / 8 ^ row % 8) + column % 8 * 2);
}

TEST(WgmmaTile, ChunksOfALineStandWhereTheSwizzlePutsThem) {
  EXPECT_EQ(tile_offset(13, 6 * 8), 1712u);
  EXPECT_EQ(tile_offset(8, 5 * 8), 1104u);
  EXPECT_EQ(tile_offset(3, 37), 506u);
}

void write_tile(uint32_t offset, const Values& v) {
  const uint32_t base = shared_address(dynamic_shared<unsigned char>()) + offset;
  for (int i = static_cast<int>(threadIdx.x); i < 64 * 64 / 2; i += 128) {
    const int row = i / 32, column = i % 32 * 2;
    store_shared(base + tile_offset(row, column),
                 v[row * 64 + column].bits | static_cast<uint32_t>(v[row * 64 + column + 1].bits) << 16);
  }
}

// What a test changes in the product of two tiles.
struct Variant {
  bool proxy_fence = true, wgmma_fence = true, wait = true, write_accumulator = false, overwrite_operand = false;
  uint32_t step_bytes = 32;
  uint64_t descriptor_xor = 0;
  uint64_t seed = 0;
};

// D [64][64] = A [64][64] B [n 64][k 64]^T by one warpgroup in four steps of k; `fault` gets the fault's text.
std::vector<float> product(const Values& a, const Values& b, std::string* fault, const Variant& v = {}) {
  std::vector<float> d(64 * kN, -1.0f);
  *fault = fault_in_block(
      128, kShared,
      [&] {
        const uint32_t base = shared_address(dynamic_shared<unsigned char>());
        write_tile(kA, a);
        write_tile(kB, b);
        if (v.proxy_fence) fence_async_shared();
        __syncthreads();
        float acc[kN / 2];
        for (float& x : acc) x = NAN;
        if (v.wgmma_fence) wgmma_fence();
        for (uint32_t s = 0; s < kK / 16; ++s)
          wgmma<kN>(acc, advance(k_major_descriptor<128>(base + kA), s * v.step_bytes) ^ v.descriptor_xor,
                    advance(k_major_descriptor<128>(base + kB), s * v.step_bytes) ^ v.descriptor_xor, s > 0);
        wgmma_commit();
        if (v.write_accumulator) acc[3] = 1;
        if (v.overwrite_operand) {
          __syncthreads();
          if (threadIdx.x == 0) store_shared(base + kA, 0u);
        }
        if (v.wait) wgmma_wait<0>();
        for (int i = 0; i < kN / 2; ++i) {
          const int t = static_cast<int>(threadIdx.x), row = 16 * (t / 32) + t % 32 / 4 + 8 * (i >> 1 & 1);
          d[row * kN + 8 * (i >> 2) + 2 * (t % 4) + (i & 1)] = acc[i];
        }
        if (!v.wait) wgmma_wait<0>();
      },
      v.seed);
  return d;
}

float one_hot(int m, int k) { return k == m % 16 ? 1 : 0; }
float count_up(int n, int k) { return k < 16 ? static_cast<float>(16 * (n % 16) + k) : 0; }

TEST(Wgmma, OneHotRowsPickTheElementsOfB) {
  const Values a = values(one_hot), b = values(count_up);
  for (const uint64_t seed : kSchedules) {
    std::string fault;
    const auto d = product(a, b, &fault, {.seed = seed});
    EXPECT_EQ(fault, "");
    for (int m = 0; m < 64; ++m)
      for (int n = 0; n < kN; ++n) ASSERT_EQ(d[m * kN + n], 16 * (n % 16) + m % 16) << m << ' ' << n;
  }
}

TEST(Wgmma, AccumulatorsLieWhereTheHardwarePutsThem) {
  // D[m][n] = 64 m + n, by A = (m / 8, m % 8) and B = (512, 64), plus n from a third column.
  const Values a = values([](int m, int k) -> float { return k == 0 ? m / 8 : k == 1 ? m % 8 : k == 2; });
  const Values b = values([](int n, int k) -> float { return k == 0 ? 512 : k == 1 ? 64 : k == 2 ? n : 0; });
  std::vector<float> first(128 * kN / 2);
  const std::string fault = fault_in_block(128, kShared, [&] {
    const uint32_t base = shared_address(dynamic_shared<unsigned char>());
    write_tile(kA, a);
    write_tile(kB, b);
    fence_async_shared();
    __syncthreads();
    float acc[kN / 2];
    wgmma_fence();
    wgmma<kN>(acc, k_major_descriptor<128>(base + kA), k_major_descriptor<128>(base + kB), false);
    wgmma_commit();
    wgmma_wait<0>();
    std::copy_n(acc, kN / 2, first.begin() + threadIdx.x * (kN / 2));
  });
  EXPECT_EQ(fault, "");
  const int expected[][4] = {{0, 0, 0, 0},  {0, 1, 0, 1},     {0, 2, 8, 0},   {0, 4, 0, 8},
                             {5, 7, 9, 11}, {37, 10, 25, 18}, {64, 4, 32, 8}, {127, 31, 63, 63}};
  for (const auto& [t, i, row, column] : expected)
    EXPECT_EQ(first[t * (kN / 2) + i], 64 * row + column) << t << ' ' << i;
}

TEST(Wgmma, EachStepOfKContributesItsOwnColumns) {
  for (int s = 0; s < 4; ++s) {
    Values a(64 * 64, bf16(0.0f)), b = values([](int, int k) -> float { return static_cast<float>(k); });
    for (int m = 0; m < 64; ++m) a[m * 64 + 16 * s + 3] = bf16(1.0f);
    std::string fault;
    for (const float x : product(a, b, &fault)) ASSERT_EQ(x, 16 * s + 3);
    EXPECT_EQ(fault, "");
    bool all_equal = true;
    for (const float x : product(a, b, &fault, {.step_bytes = 64})) all_equal = all_equal && x == 16 * s + 3;
    EXPECT_FALSE(all_equal && fault.empty()) << "a step of 64 bytes";
  }
}

TEST(Wgmma, AccumulatesNegatesAndTakesAFromRegisters) {
  const Values a = values(one_hot), b = values(count_up);
  std::string fault = fault_in_block(128, kShared, [&] {
    const uint32_t base = shared_address(dynamic_shared<unsigned char>());
    const uint64_t a_tile = k_major_descriptor<128>(base + kA), b_tile = k_major_descriptor<128>(base + kB);
    write_tile(kA, a);
    write_tile(kB, b);
    fence_async_shared();
    __syncthreads();
    float once[kN / 2], twice[kN / 2], negated[kN / 2], from_registers[kN / 2];
    // Half e of the four registers: row 16 w + l / 4 + 8 (e / 2 % 2), k = 8 (e / 4) + 2 (l % 4) + e % 2.
    const int t = static_cast<int>(threadIdx.x);
    uint32_t halves[4] = {};
    for (int e = 0; e < 8; ++e) {
      const int row = 16 * (t / 32) + t % 32 / 4 + 8 * (e / 2 % 2), k = 8 * (e / 4) + 2 * (t % 4) + e % 2;
      halves[e / 2] |= static_cast<uint32_t>(a[row * 64 + k].bits) << (16 * (e % 2));
    }
    wgmma_fence();
    wgmma<kN>(once, a_tile, b_tile, false);
    wgmma<kN>(twice, a_tile, b_tile, false);
    wgmma<kN>(twice, a_tile, b_tile, true);
    wgmma_commit();
    wgmma<kN, Major::kK, Major::kK, true>(negated, a_tile, b_tile, false);
    wgmma<kN>(from_registers, halves, b_tile, false);
    wgmma_commit();
    wgmma_wait<1>();
    for (int i = 0; i < kN / 2; ++i) {
      EXPECT_EQ(twice[i], 2 * once[i]);
      EXPECT_TRUE(std::isnan(negated[i])) << "not waited for";
    }
    wgmma_wait<0>();
    for (int i = 0; i < kN / 2; ++i) {
      EXPECT_EQ(negated[i], -once[i]);
      EXPECT_EQ(from_registers[i], once[i]);
    }
    if (t == 37) {
      EXPECT_EQ(once[0], 33);
      EXPECT_EQ(once[2], 41);
      EXPECT_EQ(once[3], 57);
      EXPECT_EQ(once[4], 161);
    }
  });
  EXPECT_EQ(fault, "");
}

TEST(WgmmaFaults, AMissingFenceOrAWriteInFlightIsReported) {
  const Values a = values(one_hot), b = values(count_up);
  for (const uint64_t seed : kSchedules) {
    std::string fault;
    product(a, b, &fault, {.proxy_fence = false, .seed = seed});
    EXPECT_FAULT(fault, "without a proxy fence");
    product(a, b, &fault, {.wgmma_fence = false, .seed = seed});
    EXPECT_FAULT(fault, "no wgmma.fence");
    product(a, b, &fault, {.write_accumulator = true, .seed = seed});
    EXPECT_FAULT(fault, "written while in flight");
    product(a, b, &fault, {.overwrite_operand = true, .seed = seed});
    EXPECT_FAULT(fault, "is still to read");
  }
}

TEST(WgmmaFaults, AccumulatorsReadBeforeTheWaitAreNan) {
  for (const uint64_t seed : kSchedules) {
    std::string fault;
    for (const float x : product(values(one_hot), values(count_up), &fault, {.wait = false, .seed = seed}))
      ASSERT_TRUE(std::isnan(x));
    EXPECT_EQ(fault, "");
  }
}

TEST(WgmmaFaults, ABlockThatExitsBeforeTheWaitIsReported) {
  const std::string fault = fault_in_block(128, kShared, [&] {
    const uint32_t base = shared_address(dynamic_shared<unsigned char>());
    write_tile(kA, values(one_hot));
    write_tile(kB, values(count_up));
    fence_async_shared();
    __syncthreads();
    float acc[kN / 2];
    wgmma_fence();
    wgmma<kN>(acc, k_major_descriptor<128>(base + kA), k_major_descriptor<128>(base + kB), false);
    wgmma_commit();
    __syncthreads();
  });
  EXPECT_FAULT(fault, "exits while a wgmma is in flight");
}

TEST(WgmmaFaults, DescriptorsThatDoNotFitTheTileAreWrongOrRefused) {
  const Values a = values(one_hot), b = values(count_up);
  std::string fault;
  const auto right = product(a, b, &fault);
  const auto wrong = [&](uint64_t change) { return product(a, b, &fault, {.descriptor_xor = change}) != right; };
  EXPECT_TRUE(wrong(uint64_t{3} << 62)) << "64- for 128-byte swizzle";
  EXPECT_TRUE(wrong(uint64_t{0x60} << 32)) << "stride offset 512 for 1024";
  product(a, b, &fault, {.descriptor_xor = uint64_t{1} << 49});
  EXPECT_FAULT(fault, "has a base offset");
  product(a, b, &fault, {.descriptor_xor = uint64_t{1} << 62});
  EXPECT_FAULT(fault, "has no swizzle");
  product(a, b, &fault, {.descriptor_xor = uint64_t{1} << 15});
  EXPECT_FAULT(fault, "has reserved bits");
  product(a, b, &fault, {.descriptor_xor = 8});
  EXPECT_FAULT(fault, "does not start at a K step");
}

TEST(WgmmaFaults, UnwrittenOperandsAndPartialWarpgroupsAreReported) {
  const auto multiply = [](unsigned threads) {
    return fault_in_block(threads, kShared, [&] {
      const uint32_t base = shared_address(dynamic_shared<unsigned char>());
      float acc[kN / 2];
      wgmma_fence();
      wgmma<kN>(acc, k_major_descriptor<128>(base + kA), k_major_descriptor<128>(base + kB), false);
      wgmma_commit();
      wgmma_wait<0>();
    });
  };
  EXPECT_FAULT(multiply(128), "which nobody wrote");
  EXPECT_FAULT(multiply(96), "needs the 128 threads of a warpgroup");
}

// A tile gathered by cp.async, which is a generic access, as operand A.
std::string gathered_product(bool reader_fence, uint64_t seed) {
  const Values a = values(one_hot), b = values(count_up);
  return fault_in_block(
      128, kShared,
      [&] {
        const uint32_t base = shared_address(dynamic_shared<unsigned char>());
        if (threadIdx.x == 0) mbarrier_init(base, 128);
        fence_mbarrier_init();
        __syncthreads();
        const int row = static_cast<int>(threadIdx.x) / 2;
        for (int c = static_cast<int>(threadIdx.x) % 2; c < 8; c += 2)
          copy_async_16(base + kA + tile_offset(row, 8 * c), a.data() + row * 64 + 8 * c);
        copy_async_arrive_noinc(base);
        write_tile(kB, b);
        fence_async_shared();
        __syncthreads();
        mbarrier_wait(base, 0);
        if (reader_fence) fence_async_shared();
        float acc[kN / 2];
        wgmma_fence();
        wgmma<kN>(acc, k_major_descriptor<128>(base + kA), k_major_descriptor<128>(base + kB), false);
        wgmma_commit();
        wgmma_wait<0>();
      },
      seed);
}

TEST(WgmmaFaults, RowsGatheredByCpAsyncNeedAFenceOfTheReaders) {
  EXPECT_EQ(gathered_product(true, 0), "");
  EXPECT_EQ(gathered_product(true, 1), "");
  EXPECT_FAULT(gathered_product(false, 0), "without a proxy fence");
}

}  // namespace
