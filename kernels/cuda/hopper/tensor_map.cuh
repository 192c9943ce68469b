// Tensor maps, made on the host: how a tensor lies in global memory and which box of it one bulk copy moves.
//
// The driver's encoder is reached through the runtime, so that nothing links against the driver.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>

#include <cstdint>

#include "kernels/cuda/check.cuh"

namespace sy::kernels::cuda {

struct TensorView {
  CUtensorMapDataType type;
  const void* data;     // a multiple of 16 bytes
  int rank;             // 1..5; dimension 0 is contiguous
  uint64_t dims[5];     // elements
  uint64_t strides[4];  // bytes from one element of dimension 1.. to the next, multiples of 16
  uint32_t box[5];      // elements, at most 256 each; box[0] fills the swizzle span
  CUtensorMapSwizzle swizzle;
};

[[nodiscard]] inline CUtensorMap make_tensor_map(const TensorView& view) {
  void* encoder = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encoder, 12000, cudaEnableDefault, &found));
  SY_KERNEL_CHECK(found == cudaDriverEntryPointSuccess);
  CUtensorMap map;
  const cuuint32_t element_strides[5] = {1, 1, 1, 1, 1};
  const CUresult result = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(encoder)(
      &map, view.type, static_cast<cuuint32_t>(view.rank), const_cast<void*>(view.data), view.dims, view.strides,
      view.box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, view.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  SY_KERNEL_CHECK(result == CUDA_SUCCESS);  // alignments and ranges as in TensorView
  return map;
}

// A row-major matrix of bf16, columns a multiple of 8, in boxes of box_rows rows of one swizzle span (128, 64, 32
// bytes).
[[nodiscard]] inline CUtensorMap matrix_map(const bf16* data, int64_t rows, int64_t columns, uint32_t box_rows,
                                            uint32_t span = 128) {
  return make_tensor_map({.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                          .data = data,
                          .rank = 2,
                          .dims = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)},
                          .strides = {static_cast<uint64_t>(columns) * sizeof(bf16)},
                          .box = {span / 2, box_rows},
                          .swizzle = span == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : span == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                  : CU_TENSOR_MAP_SWIZZLE_32B});
}

}  // namespace sy::kernels::cuda
