// bf16 rounds an f32 to the nearest value, ties to even, as a GPU's conversion does (cvt.rn.bf16.f32).
#include "kernels/types.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace sy {
namespace {

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
bf16 bf16_of_bits(uint32_t bits) {
  bf16 value;
  value.bits = static_cast<uint16_t>(bits);
  return value;
}

// By the definition: of the two neighbours in magnitude the nearer, or the one whose last bit is 0. Infinity stands for
// the value that would follow the largest.
uint16_t nearest(float f) {
  const uint32_t low = std::bit_cast<uint32_t>(f) >> 16;
  const auto magnitude = [](uint32_t bits) {
    return (bits & 0x7fffu) == 0x7f80u ? 0x1p128 : std::abs(static_cast<double>(from_bits(bits << 16)));
  };
  const double x = std::abs(static_cast<double>(f));
  const double below = x - magnitude(low), above = magnitude(low + 1) - x;
  const bool takes_low = below < above || (below == above && low % 2 == 0);
  return static_cast<uint16_t>(takes_low ? low : low + 1);
}

TEST(Bf16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const float f = bf16_of_bits(bits);
    const uint32_t quiet = std::isnan(f) ? bits | 0x40u : bits;
    ASSERT_EQ(bf16(f).bits, quiet) << std::hex << bits;
  }
}

// Around every finite bf16: the tie and its neighbours, which decide up, down and to even; subnormals included.
TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  for (uint32_t high = 0; high < 0x10000u; ++high) {
    if ((high & 0x7f80u) == 0x7f80u) continue;
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float f = from_bits(high << 16 | low);
      ASSERT_EQ(bf16(f).bits, nearest(f)) << std::hex << (high << 16 | low);
    }
  }
}

TEST(Bf16, BeyondTheLargestIsInfinityOfItsSign) {
  const float largest = std::numeric_limits<float>::max();
  EXPECT_EQ(static_cast<float>(bf16(largest)), std::numeric_limits<float>::infinity());
  EXPECT_EQ(static_cast<float>(bf16(-largest)), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(bf16(from_bits(0x7f7f7fffu)).bits, 0x7f7fu) << "just below the tie stays finite";
}

// Adding to the mantissa would carry some of these into infinity, cutting it off would make others infinite.
TEST(Bf16, NanStaysNanWhateverItsPayloadAndSign) {
  for (const uint32_t bits :
       {0x7f800001u, 0x7f808000u, 0x7fbfffffu, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    const bf16 value(from_bits(bits));
    EXPECT_TRUE(std::isnan(static_cast<float>(value))) << std::hex << bits;
    EXPECT_EQ(value.bits >> 15, bits >> 31);
  }
}

}  // namespace
}  // namespace sy
