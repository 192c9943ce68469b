// A matrix in global memory for tests of bulk copies, and the load of one box of it.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/cuda/hopper/mbarrier.cuh"
#include "kernels/cuda/hopper/tensor_copy.cuh"
#include "kernels/cuda/hopper/tensor_map.cuh"

namespace sy::test {

// A matrix of 16-bit patterns: element (row, column) is row * columns + column.
struct Matrix {
  int rows, columns;
  std::vector<uint16_t> elements;

  Matrix(int num_rows, int num_columns)
      : rows(num_rows), columns(num_columns), elements(static_cast<size_t>(num_rows) * num_columns) {
    std::iota(elements.begin(), elements.end(), uint16_t{0});
  }
  uint16_t* data() { return elements.data(); }
  CUtensorMap map(uint32_t box_columns, uint32_t box_rows, CUtensorMapSwizzle swizzle) {
    return kernels::cuda::make_tensor_map({.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                           .data = data(),
                                           .rank = 2,
                                           .dims = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)},
                                           .strides = {static_cast<uint64_t>(columns) * 2},
                                           .box = {box_columns, box_rows},
                                           .swizzle = swizzle});
  }
};

// Thread 0 loads a box to `offset` of shared memory, all wait; the barrier stands at byte 0.
inline void load_and_wait(const CUtensorMap& map, uint32_t offset, uint32_t bytes, int x, int y) {
  using namespace kernels::cuda;
  const uint32_t base = shared_address(dynamic_shared<unsigned char>());
  if (threadIdx.x == 0) {
    mbarrier_init(base, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(base, bytes);
    tensor_load(base + offset, &map, base, x, y);
  }
  __syncthreads();
  mbarrier_wait(base, 0);
}

}  // namespace sy::test
