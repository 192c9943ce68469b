// Bulk tensor stores and additions of simulated CUDA, and the faults they must report.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/cuda_sim/checks/block_run.h"
#include "tests/cuda_sim/checks/matrix_box.h"

namespace {

using namespace sy::kernels::cuda;
using sy::test::fault_in_block;
using sy::test::kSchedules;
using sy::test::load_and_wait;
using sy::test::Matrix;

// Loads a box, stores it to (x, y) of another matrix.
std::string copy_box(const CUtensorMap& from, const CUtensorMap& to, int x, int y, uint64_t seed) {
  return fault_in_block(
      1, 1024 + 16384,
      [&] {
        load_and_wait(from, 1024, 16384, 0, 0);
        tensor_store(&to, shared_address(dynamic_shared<unsigned char>() + 1024), x, y);
        bulk_commit();
        bulk_wait<0>();
      },
      seed);
}

TEST(TensorStore, WritesWhatLiesInsideTheTensorAndNothingElse) {
  Matrix from(128, 64);
  for (const uint64_t seed : kSchedules) {
    Matrix to(200, 96);
    std::fill_n(to.data(), 200 * 96, uint16_t{0xffff});
    EXPECT_EQ(copy_box(from.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B), to.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B), 64,
                       128, seed),
              "");
    int written = 0;
    for (int row = 0; row < 200; ++row)
      for (int column = 0; column < 96; ++column) {
        const uint16_t value = to.data()[row * 96 + column];
        const bool inside = row >= 128 && column >= 64;
        EXPECT_EQ(value, inside ? (row - 128) * 64 + column - 64 : 0xffff);
        written += value != 0xffff;
      }
    EXPECT_EQ(written, 2304);
  }
}

TEST(TensorAdd, AddsF32ToWhatTheTensorHolds) {
  std::vector<float> addend(8 * 32), sum(8 * 32);
  for (size_t i = 0; i < sum.size(); ++i) addend[i] = static_cast<float>(i) + 0.5f, sum[i] = 1000.0f;
  const auto map = [](std::vector<float>& v) {
    return make_tensor_map({.type = CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                            .data = v.data(),
                            .rank = 2,
                            .dims = {32, 8},
                            .strides = {128},
                            .box = {32, 8},
                            .swizzle = CU_TENSOR_MAP_SWIZZLE_128B});
  };
  const CUtensorMap from = map(addend), to = map(sum);
  const std::string fault = fault_in_block(1, 2048, [&] {
    load_and_wait(from, 1024, 1024, 0, 0);
    tensor_add(&to, shared_address(dynamic_shared<unsigned char>() + 1024), 0, 0);
    bulk_commit();
    bulk_wait<0>();
  });
  EXPECT_EQ(fault, "");
  for (size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(sum[i], 1000.5f + static_cast<float>(i));
}

TEST(TensorStoreFaults, ANegativeCoordinateIsReported) {
  Matrix from(128, 64), to(200, 96);
  EXPECT_FAULT(
      copy_box(from.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B), to.map(64, 128, CU_TENSOR_MAP_SWIZZLE_128B), -8, 0, 0),
      "negative coordinate");
}

// One thread writes 16 x 64 bf16 of shared memory by store_shared, then stores the box.
std::string store_written(uint16_t* result, bool fence, bool commit, bool wait, bool overwrite_before_wait,
                          uint64_t seed) {
  Matrix to(16, 64);
  const CUtensorMap map = to.map(64, 16, CU_TENSOR_MAP_SWIZZLE_NONE);
  const std::string fault = fault_in_block(
      1, 2048,
      [&] {
        const uint32_t base = shared_address(dynamic_shared<unsigned char>());
        for (uint32_t i = 0; i < 2048; i += 16) store_shared(base + i, make_uint4(7, 7, 7, 7));
        if (fence) fence_async_shared();
        tensor_store(&map, base, 0, 0);
        if (commit) bulk_commit();
        if (overwrite_before_wait) dynamic_shared<uint16_t>()[0] = 99;
        if (wait) bulk_wait_read<0>();
        if (!overwrite_before_wait) dynamic_shared<uint16_t>()[0] = 99;
      },
      seed);
  *result = to.data()[0];
  return fault;
}

TEST(TensorStore, TheSourceMayBeReusedOnlyAfterTheWait) {
  uint16_t result = 0;
  for (const uint64_t seed : kSchedules) {
    EXPECT_EQ(store_written(&result, true, true, true, false, seed), "");
    EXPECT_EQ(result, 7);
  }
  // Through a plain pointer the reuse shows in the result; through store_shared it is a fault.
  EXPECT_EQ(store_written(&result, true, true, true, true, 0), "");
  EXPECT_EQ(result, 99);
  Matrix to(16, 64);
  const CUtensorMap map = to.map(64, 16, CU_TENSOR_MAP_SWIZZLE_NONE);
  for (const uint64_t seed : kSchedules) {
    const std::string text = fault_in_block(
        1, 2048,
        [&] {
          const uint32_t base = shared_address(dynamic_shared<unsigned char>());
          for (uint32_t i = 0; i < 2048; i += 16) store_shared(base + i, make_uint4(7, 7, 7, 7));
          fence_async_shared();
          tensor_store(&map, base, 0, 0);
          bulk_commit();
          store_shared(base, 8u);
        },
        seed);
    EXPECT_FAULT(text, "is still to read");
  }
}

TEST(TensorStoreFaults, AMissingFenceCommitOrWaitIsReported) {
  uint16_t result = 0;
  for (const uint64_t seed : kSchedules) {
    EXPECT_FAULT(store_written(&result, false, true, true, false, seed), "without a proxy fence");
    EXPECT_FAULT(store_written(&result, true, false, false, false, seed), "not committed");
    EXPECT_FAULT(store_written(&result, true, true, false, false, seed), "may still read its shared memory");
  }
}

TEST(TensorStoreFaults, ASourceWrittenThroughAPlainPointerIsReported) {
  Matrix to(16, 64);
  const CUtensorMap map = to.map(64, 16, CU_TENSOR_MAP_SWIZZLE_NONE);
  const auto store = [&](bool tracked_first) {
    return fault_in_block(1, 2048, [&] {
      auto* bytes = dynamic_shared<unsigned char>();
      for (uint32_t i = 0; i < 2048; i += 16)
        if (tracked_first) store_shared(shared_address(bytes + i), make_uint4(7, 7, 7, 7));
      fence_async_shared();
      for (uint32_t i = 0; i < 2048; ++i) bytes[i] = 1;
      tensor_store(&map, shared_address(bytes), 0, 0);
    });
  };
  EXPECT_FAULT(store(false), "a plain store");
  EXPECT_FAULT(store(true), "a plain store");
}

}  // namespace
