// Bulk tensor loads of simulated CUDA: where swizzles put elements, by offsets that do not come from our own code; what
// the encoder of tensor maps refuses; and the faults they must report.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "csrc/core/check.h"
#include "kernels/cuda/hopper/matrix_rows.cuh"
#include "tests/cuda_sim/checks/block_run.h"
#include "tests/cuda_sim/checks/matrix_box.h"
#include "tests/cuda_sim/tensor_map.h"

namespace {

using namespace sy::kernels::cuda;
using sy::test::fault_in_block;
using sy::test::kSchedules;
using sy::test::load_and_wait;
using sy::test::Matrix;

// The 16-bit pattern at a byte offset of the tile.
uint16_t at(const std::vector<unsigned char>& tile, int offset) {
  return static_cast<uint16_t>(tile[offset] | tile[offset + 1] << 8);
}

// What a load of the box at (x, y) leaves in shared memory from byte `offset` on.
std::vector<unsigned char> loaded(const CUtensorMap& map, uint32_t bytes, int x = 0, int y = 0, uint32_t offset = 1024,
                                  uint64_t seed = 0) {
  std::vector<unsigned char> tile(bytes);
  const std::string fault = fault_in_block(
      1, offset + bytes,
      [&] {
        load_and_wait(map, offset, bytes, x, y);
        std::copy_n(dynamic_shared<unsigned char>() + offset, bytes, tile.begin());
      },
      seed);
  EXPECT_EQ(fault, "");
  return tile;
}

TEST(TensorLoad, Swizzle128PutsElementsWhereTheHardwareDoes) {
  Matrix m(128, 64);
  const CUtensorMap map = m.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B);
  const int expected[][2] = {{0, 0},      {144, 64},   {506, 229},  {704, 328},   {910, 511},
                             {1024, 512}, {1178, 581}, {1552, 808}, {16270, 8191}};
  for (const uint64_t seed : kSchedules) {
    const auto tile = loaded(map, 16384, 0, 0, 1024, seed);
    for (const auto& [offset, value] : expected) EXPECT_EQ(at(tile, offset), value) << offset;
  }
}

TEST(TensorLoad, Swizzle128PermutesTheChunksOfALine) {
  Matrix m(8, 64);
  const auto tile = loaded(m.map(64, 8, CU_TENSOR_MAP_SWIZZLE_128B), 1024);
  const int rows[] = {1, 4, 7};
  const int chunks[][8] = {{1, 0, 3, 2, 5, 4, 7, 6}, {4, 5, 6, 7, 0, 1, 2, 3}, {7, 6, 5, 4, 3, 2, 1, 0}};
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 8; ++c) EXPECT_EQ(at(tile, rows[r] * 128 + c * 16), rows[r] * 64 + chunks[r][c] * 8);
}

TEST(TensorLoad, TheSwizzleFollowsTheAbsoluteAddressNotTheBuffer) {
  Matrix m(8, 64);
  // 1024-aligned shared memory, tile at 0x480 of it: the pattern is rotated by one line.
  const auto tile = loaded(m.map(64, 8, CU_TENSOR_MAP_SWIZZLE_128B), 1024, 0, 0, 0x480);
  EXPECT_EQ(at(tile, 0x490 - 0x480), 0);
  EXPECT_EQ(at(tile, 0x520 - 0x480), 64);
}

TEST(TensorLoad, Swizzle64And32PutElementsWhereTheHardwareDoes) {
  Matrix m64(8, 32), m32(16, 16);
  const auto tile64 = loaded(m64.map(32, 8, CU_TENSOR_MAP_SWIZZLE_64B), 512);
  EXPECT_EQ(at(tile64, 128), 2 * 32 + 8);
  EXPECT_EQ(at(tile64, 250), 3 * 32 + 21);
  EXPECT_EQ(at(tile64, 348), 5 * 32 + 30);
  const auto tile32 = loaded(m32.map(16, 16, CU_TENSOR_MAP_SWIZZLE_32B), 512);
  EXPECT_EQ(at(tile32, 144), 4 * 16);
  EXPECT_EQ(at(tile32, 162), 5 * 16 + 9);
  EXPECT_EQ(at(tile32, 382), 11 * 16 + 15);
}

int num_zeros(const std::vector<unsigned char>& tile) {
  int zeros = 0;
  for (size_t i = 0; i < tile.size(); i += 2) zeros += at(tile, static_cast<int>(i)) == 0;
  return zeros;
}

TEST(TensorLoad, OutsideTheTensorAreZerosAndTheFullBoxIsCounted) {
  Matrix m(200, 96);  // no element but the first is 0
  const CUtensorMap map = m.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B);
  EXPECT_EQ(num_zeros(loaded(map, 16384, 64, 128)), 8192 - 32 * 72);
  EXPECT_EQ(num_zeros(loaded(map, 16384, -8, 0)), 8 * 128 + 1);
  EXPECT_EQ(num_zeros(loaded(map, 16384, 0, 0)), 1);
}

TEST(TensorLoad, AThirdDimensionPicksTheExpert) {
  constexpr int kExperts = 4, kN = 384, kK = 256;
  std::vector<uint16_t> weights(size_t{kExperts} * kN * kK);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<uint16_t>(i * 40503u >> 7);
  const CUtensorMap map = make_tensor_map({.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                           .data = weights.data(),
                                           .rank = 3,
                                           .dims = {kK, kN, kExperts},
                                           .strides = {2 * kK, 2 * kN * kK},
                                           .box = {64, 128, 1},
                                           .swizzle = CU_TENSOR_MAP_SWIZZLE_128B});
  const std::string fault = fault_in_block(1, 1024 + 16384, [&] {
    const uint32_t base = shared_address(dynamic_shared<unsigned char>());
    mbarrier_init(base, 1);
    mbarrier_arrive_expect_tx(base, 16384);
    tensor_load(base + 1024, &map, base, 192, 256, 3);
    mbarrier_wait(base, 0);
    const auto* tile = reinterpret_cast<const uint16_t*>(dynamic_shared<unsigned char>() + 1024);
    EXPECT_EQ(tile[0], weights[(3 * kN + 256) * kK + 192]);
    EXPECT_EQ(tile[506 / 2], weights[(3 * kN + 256 + 3) * kK + 192 + 37]);
  });
  EXPECT_EQ(fault, "");
}

TEST(TensorLoad, AGateAndUpPairIsOneBoxOfFourDimensions) {
  constexpr int kExperts = 2, kN = 128, kK = 64;
  std::vector<uint16_t> weights(size_t{kExperts} * 2 * kN * kK);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<uint16_t>(i * 40503u >> 7);
  const CUtensorMap map = make_tensor_map({.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                           .data = weights.data(),
                                           .rank = 4,
                                           .dims = {kK, kN, 2, kExperts},
                                           .strides = {2 * kK, 2 * kN * kK, 4 * kN * kK},
                                           .box = {64, 128, 2, 1},
                                           .swizzle = CU_TENSOR_MAP_SWIZZLE_128B});
  const std::string fault = fault_in_block(1, 1024 + 32768, [&] {
    const uint32_t base = shared_address(dynamic_shared<unsigned char>());
    mbarrier_init(base, 1);
    mbarrier_arrive_expect_tx(base, 32768);
    tensor_load(base + 1024, &map, base, 0, 0, 0, 1);
    mbarrier_wait(base, 0);
    const auto* tile = reinterpret_cast<const uint16_t*>(dynamic_shared<unsigned char>() + 1024);
    EXPECT_EQ(tile[506 / 2], weights[2 * kN * kK + 3 * kK + 37]);
    EXPECT_EQ(tile[(16384 + 506) / 2], weights[3 * kN * kK + 3 * kK + 37]);
  });
  EXPECT_EQ(fault, "");
}

TEST(TensorMap, TheEncoderRefusesWhatTheDriverRefuses) {
  alignas(16) static uint16_t data[64 * 64];
  const TensorView legal{.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                         .data = data,
                         .rank = 2,
                         .dims = {64, 64},
                         .strides = {128},
                         .box = {64, 8},
                         .swizzle = CU_TENSOR_MAP_SWIZZLE_128B};
  const CUtensorMap map = make_tensor_map(legal);
  EXPECT_EQ(sy::cuda_sim::decode_tensor_map(&map).box_bytes(), 1024u);
  const auto refused = [&](auto&& change) {
    TensorView view = legal;
    change(view);
    EXPECT_THROW(const CUtensorMap map = make_tensor_map(view); (void)map, sy::Error);
  };
  refused([](TensorView& v) { v.rank = 6; });
  refused([](TensorView& v) { v.data = data + 4; });
  refused([](TensorView& v) { v.strides[0] = 120; });
  refused([](TensorView& v) { v.box[0] = 72; });  // wider than the swizzle
  refused([](TensorView& v) { v.box[1] = 257; });
  refused([](TensorView& v) { v.dims[1] = 0; });
  refused([](TensorView& v) { v.box[0] = 4; });  // 8 bytes
  refused([](TensorView& v) { v.swizzle = CU_TENSOR_MAP_SWIZZLE_64B; });
}

TEST(TensorLoadFaults, MisplacedAndUnfinishedLoadsAreReported) {
  Matrix m(128, 64);
  const CUtensorMap map = m.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B);
  const auto load = [&](uint32_t offset, uint32_t expected, bool wait) {
    return fault_in_block(1, 2048 + 16384, [&] {
      const uint32_t base = shared_address(dynamic_shared<unsigned char>());
      mbarrier_init(base, 1);
      mbarrier_arrive_expect_tx(base, expected);
      tensor_load(base + offset, &map, base, 0, 0);
      if (wait) mbarrier_wait(base, 0);
    });
  };
  EXPECT_EQ(load(1024, 16384, true), "");
  EXPECT_FAULT(load(1024 + 64, 16384, true), "not a multiple of 128");
  EXPECT_FAULT(load(3072, 16384, true), "outside the block's");
  EXPECT_FAULT(load(1024, 16384, false), "a copy into its shared memory is under way");
  EXPECT_FAULT(load(1024, 2 * 16384, true), "16384 bytes outstanding");
}

TEST(TensorLoadFaults, ReadingOrReloadingAStageBeforeItHasArrivedIsReported) {
  Matrix m(128, 64);
  const CUtensorMap map = m.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B);
  const auto load_then = [&](const std::function<void(uint32_t)>& act) {
    return fault_in_block(32, 1024 + 16384, [&] {
      const uint32_t base = shared_address(dynamic_shared<unsigned char>());
      if (threadIdx.x == 0) {
        mbarrier_init(base, 1);
        mbarrier_arrive_expect_tx(base, 16384);
        tensor_load(base + 1024, &map, base, 0, 0);
      }
      __syncwarp();
      act(base);
    });
  };
  EXPECT_FAULT(load_then([](uint32_t base) {
                 uint32_t r[4];
                 load_matrices(r, base + 1024);
               }),
               "a copy is under way");
  EXPECT_FAULT(load_then([&](uint32_t base) { tensor_load(base + 1024, &map, base, 0, 0); }), "a copy is under way");
}

}  // namespace
