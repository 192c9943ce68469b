// A tensor map of simulated CUDA: what cuTensorMapEncodeTiled was told, in the 128 bytes of a CUtensorMap.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace sy::cuda_sim {

struct TensorMap {
  uint32_t magic;
  uint8_t type, rank, swizzle, unused;
  unsigned char* base;
  uint64_t dims[5];
  uint64_t strides[4];  // bytes; of dims 1..
  uint16_t box[5];

  int element_bytes() const;
  uint32_t swizzle_bytes() const { return swizzle == 0 ? 0 : 16u << swizzle; }
  uint32_t box_bytes() const;
};
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

// Faults if the bytes at `map` were not written by the encoder.
TensorMap decode_tensor_map(const CUtensorMap* map);

}  // namespace sy::cuda_sim
