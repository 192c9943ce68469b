// IEEE half precision, which files hold and we do not compute with: widened to f32, exactly.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sy {

inline float float_of_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1fu,
                 fraction = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign == 0 ? magnitude : -magnitude;
  }
  const uint32_t widened = exponent == 0x1fu ? 0xffu : exponent + 112;  // infinity and NaN keep the largest exponent
  return std::bit_cast<float>(sign | widened << 23 | fraction << 13);
}

// Of two bytes at any address.
inline float f16_at(const std::byte* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof(bits));
  return float_of_f16(bits);
}

}  // namespace sy
