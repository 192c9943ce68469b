// Simulated driver: the one entry point that Switchyard asks the runtime for, cuTensorMapEncodeTiled, with the rules
// that the driver checks. A map that breaks one is CUDA_ERROR_INVALID_VALUE, as on hardware.
#include "tests/cuda_sim/tensor_map.h"

#include <cuda_runtime.h>

#include <cstring>

#include "tests/cuda_sim/block.h"

namespace sy::cuda_sim {

namespace {

constexpr uint32_t kMagic = 0x74656e73;

int bytes_of(int type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    default:
      return 0;
  }
}

CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* dims,
                const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* element_strides,
                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                CUtensorMapFloatOOBfill fill) {
  TensorMap m{};
  m.magic = kMagic;
  m.type = static_cast<uint8_t>(type);
  m.swizzle = static_cast<uint8_t>(swizzle);
  m.base = static_cast<unsigned char*>(base);
  const auto element = static_cast<uint64_t>(m.element_bytes());
  bool legal = map != nullptr && reinterpret_cast<uintptr_t>(map) % 64 == 0 && element > 0 && rank >= 1 && rank <= 5 &&
               base != nullptr && reinterpret_cast<uintptr_t>(base) % 16 == 0 &&
               interleave == CU_TENSOR_MAP_INTERLEAVE_NONE && swizzle <= CU_TENSOR_MAP_SWIZZLE_128B &&
               fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  if (!legal) return CUDA_ERROR_INVALID_VALUE;
  m.rank = static_cast<uint8_t>(rank);
  for (cuuint32_t i = 0; i < rank; ++i) {
    legal = legal && dims[i] >= 1 && dims[i] <= uint64_t{1} << 32 && box[i] >= 1 && box[i] <= 256;
    legal = legal && element_strides[i] == 1;  // of 1..8, the only one that Switchyard uses
    m.dims[i] = dims[i];
    m.box[i] = static_cast<uint16_t>(box[i]);
    if (i == 0) continue;
    legal = legal && strides[i - 1] % 16 == 0 && strides[i - 1] < uint64_t{1} << 40;
    m.strides[i - 1] = strides[i - 1];
  }
  const uint64_t row = box[0] * element;
  legal = legal && row % 16 == 0 && (swizzle == CU_TENSOR_MAP_SWIZZLE_NONE || row <= m.swizzle_bytes());
  if (!legal) return CUDA_ERROR_INVALID_VALUE;
  std::memset(map, 0, sizeof(*map));
  std::memcpy(map, &m, sizeof(m));
  return CUDA_SUCCESS;
}

}  // namespace

int TensorMap::element_bytes() const { return bytes_of(type); }

uint32_t TensorMap::box_bytes() const {
  uint32_t bytes = static_cast<uint32_t>(element_bytes());
  for (int i = 0; i < rank; ++i) bytes *= box[i];
  return bytes;
}

TensorMap decode_tensor_map(const CUtensorMap* map) {
  TensorMap m;
  std::memcpy(&m, map, sizeof(m));
  if (m.magic != kMagic) fault("a tensor copy through something that is not a tensor map");
  return m;
}

}  // namespace sy::cuda_sim

extern "C" cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                                        unsigned long long, cudaDriverEntryPointQueryResult* status) {
  *function = nullptr;
  *status = cudaDriverEntryPointSymbolNotFound;
  if (std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0 && version >= 12000) {
    *function = reinterpret_cast<void*>(&sy::cuda_sim::encode);
    *status = cudaDriverEntryPointSuccess;
  }
  return cudaSuccess;
}
