// The types in which GGUF files store weights, and their values as f32, exactly as llama.cpp's `gguf` package computes
// them (BF16: as they are). Elements come in blocks; d, m are f16, q an unsigned or signed integer per element, all
// little-endian:
//   F32, F16, BF16   one element
//   Q8_0   32 elements: d, 32 bytes                  x = d q
//   Q4_0   32 elements: d, 16 bytes                  x = d (q - 8)   byte i holds elements i (low half) and i + 16
//   Q4_1   32 elements: d, m, 16 bytes               x = d q + m     likewise
//   Q6_K   256 elements: 128 bytes of low 4 bits, 64 of high 2 bits, 16 scales s (one per 16), d    x = (d s) (q - 32)
// Source: github.com/ggml-org/llama.cpp, gguf-py and ggml's block structures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "csrc/core/dtype.h"

namespace sy {

struct GgufType {
  uint32_t id = 0;
  const char* name = "";
  int64_t block_elements = 1, block_bytes = 0;
  DType dtype = DType::f32;  // of its values: bf16 or f32
};

// nullptr for a type that is not supported.
const GgufType* find_gguf_type(uint32_t id);
// "Q5_K", or "number 99".
std::string gguf_type_name(uint32_t id);
// "F32, F16, ...".
std::string supported_gguf_types();

// Sets num_blocks * block_elements values of type.dtype.
void dequantise(const GgufType& type, const std::byte* blocks, int64_t num_blocks, void* dst);

}  // namespace sy
