// cp.async, ldmatrix and stmatrix of simulated CUDA.
#include <gtest/gtest.h>

#include "kernels/cuda/hopper/copy_async.cuh"
#include "kernels/cuda/hopper/matrix_rows.cuh"
#include "tests/cuda_sim/checks/block_run.h"
#include "tests/cuda_sim/checks/matrix_box.h"

namespace {

using namespace sy::kernels::cuda;
using sy::test::fault_in_block;
using sy::test::kSchedules;
using sy::test::Matrix;

TEST(CopyAsync, ZeroFillsWhatIsNotCopiedAndGroupsCompleteInOrder) {
  alignas(16) static const uint16_t source[] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (const uint64_t seed : kSchedules) {
    const std::string fault = fault_in_block(
        1, 1024,
        [] {
          const uint32_t base = shared_address(dynamic_shared<unsigned char>());
          copy_async_16(base, source, 6);
          copy_async_commit();
          copy_async_16(base + 16, source, 0);
          copy_async_commit();
          copy_async_wait<1>();
          const uint16_t* row = dynamic_shared<uint16_t>();
          for (int i = 0; i < 8; ++i) EXPECT_EQ(row[i], i < 3 ? i + 1 : 0);
          copy_async_wait<0>();
          for (int i = 8; i < 16; ++i) EXPECT_EQ(row[i], 0);
        },
        seed);
    EXPECT_EQ(fault, "");
  }
  EXPECT_FAULT(
      fault_in_block(1, 1024, [] { copy_async_16(shared_address(dynamic_shared<unsigned char>()) + 8, source); }),
      "not a multiple of 16");
}

TEST(MatrixRows, RegistersHoldTheElementsThatPtxNames) {
  Matrix m(32, 8);  // matrix j is rows 8 j .. 8 j + 7
  const std::string fault = fault_in_block(32, 2048, [&] {
    auto* tile = dynamic_shared<uint16_t>();
    for (int i = 0; i < 8; ++i) tile[threadIdx.x * 8 + i] = m.data()[threadIdx.x * 8 + i];
    __syncwarp();
    const uint32_t own_row = shared_address(tile + threadIdx.x * 8);
    uint32_t plain[4], transposed[4];
    load_matrices(plain, own_row);
    load_matrices<true>(transposed, own_row);
    if (threadIdx.x == 21) {  // matrix 2: row 5, column 2; transposed: row 2, column 5
      EXPECT_EQ(plain[2] & 0xffff, (2u * 8 + 5) * 8 + 2);
      EXPECT_EQ(plain[2] >> 16, (2u * 8 + 5) * 8 + 3);
      EXPECT_EQ(transposed[2] & 0xffff, (2u * 8 + 2) * 8 + 5);
      EXPECT_EQ(transposed[2] >> 16, (2u * 8 + 3) * 8 + 5);
    }
    const uint32_t second = shared_address(tile + 512 + threadIdx.x * 8);
    store_matrices<true>(second, plain);
    if (threadIdx.x == 21) {
      EXPECT_EQ(tile[512 + (2 * 8 + 2) * 8 + 5], (2 * 8 + 5) * 8 + 2);
    }
    store_matrices(second, plain);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(tile[512 + threadIdx.x * 8 + i], m.data()[threadIdx.x * 8 + i]);
  });
  EXPECT_EQ(fault, "");
}

}  // namespace
