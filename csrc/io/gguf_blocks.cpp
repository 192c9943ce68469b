#include "csrc/io/gguf_blocks.h"

#include <array>
#include <cstring>

#include "csrc/core/check.h"
#include "csrc/io/float16.h"

namespace sy {

namespace {

enum : uint32_t { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kQ6_K = 14, kBF16 = 30 };

constexpr std::array kSupported = {
    GgufType{kF32, "F32", 1, 4},      GgufType{kF16, "F16", 1, 2},     GgufType{kBF16, "BF16", 1, 2, DType::bf16},
    GgufType{kQ8_0, "Q8_0", 32, 34},  GgufType{kQ4_0, "Q4_0", 32, 18}, GgufType{kQ4_1, "Q4_1", 32, 20},
    GgufType{kQ6_K, "Q6_K", 256, 210}};

// Names by id, for messages; "" where there is none.
constexpr std::array kNames = {"F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
                               "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
                               "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
                               "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16"};

int low_half(std::byte b) { return std::to_integer<int>(b & std::byte{15}); }
int high_half(std::byte b) { return std::to_integer<int>(b >> 4); }
float signed_byte(std::byte b) { return static_cast<float>(static_cast<int8_t>(b)); }

void q8_0_block(const std::byte* block, float* to) {
  const float d = f16_at(block);
  for (int i = 0; i < 32; ++i) to[i] = d * signed_byte(block[2 + i]);
}

void q4_0_block(const std::byte* block, float* to) {
  const float d = f16_at(block);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>(low_half(block[2 + i]) - 8);
    to[i + 16] = d * static_cast<float>(high_half(block[2 + i]) - 8);
  }
}

void q4_1_block(const std::byte* block, float* to) {
  const float d = f16_at(block), m = f16_at(block + 2);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>(low_half(block[4 + i])) + m;
    to[i + 16] = d * static_cast<float>(high_half(block[4 + i])) + m;
  }
}

// Two halves of 128 elements, each in four rows of 32: rows 0 and 1 are the low halves of 64 bytes, rows 2 and 3 the
// high ones; byte l of the 32 with high bits holds those of element l of all four rows.
void q6_k_block(const std::byte* block, float* to) {
  const float d = f16_at(block + 208);
  for (int half = 0; half < 2; ++half) {
    const std::byte *low = block + 64 * half, *high = block + 128 + 32 * half, *scales = block + 192 + 8 * half;
    for (int row = 0; row < 4; ++row)
      for (int l = 0; l < 32; ++l) {
        const std::byte pair = low[32 * (row % 2) + l];
        const int bits = std::to_integer<int>((high[l] >> (2 * row)) & std::byte{3});
        const int q = (row < 2 ? low_half(pair) : high_half(pair)) + 16 * bits - 32;
        to[128 * half + 32 * row + l] = d * signed_byte(scales[2 * row + l / 16]) * static_cast<float>(q);
      }
  }
}

}  // namespace

const GgufType* find_gguf_type(uint32_t id) {
  for (const GgufType& type : kSupported)
    if (type.id == id) return &type;
  return nullptr;
}

std::string gguf_type_name(uint32_t id) {
  const std::string name = id < kNames.size() ? kNames[id] : "";
  return name.empty() ? fmt::format("number {}", id) : name;
}

std::string supported_gguf_types() {
  std::string names;
  for (const GgufType& type : kSupported) names += (names.empty() ? "" : ", ") + std::string(type.name);
  return names;
}

void dequantise(const GgufType& type, const std::byte* blocks, int64_t num_blocks, void* dst) {
  const auto each = [&](auto&& block) {
    auto* to = static_cast<float*>(dst);
    for (int64_t b = 0; b < num_blocks; ++b) block(blocks + b * type.block_bytes, to + b * type.block_elements);
  };
  switch (type.id) {
    case kF32:
    case kBF16:
      std::memcpy(dst, blocks, static_cast<size_t>(num_blocks * type.block_bytes));
      return;
    case kF16:
      return each([](const std::byte* p, float* x) { *x = f16_at(p); });
    case kQ8_0:
      return each(q8_0_block);
    case kQ4_0:
      return each(q4_0_block);
    case kQ4_1:
      return each(q4_1_block);
    case kQ6_K:
      return each(q6_k_block);
  }
  SY_CHECK(false, "type {}", type.id);
}

}  // namespace sy
