// Philox4x32-10 counter-based random numbers (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//
// A stream is keyed by (seed, step, sample, layer, purpose) and addressed by an element's global index, so a number
// depends on what it is for and never on which rank or thread asks. Usable on host and device.
#pragma once

#include <cmath>

#include "kernels/types.h"

namespace sy {

// What a random number is used for: two purposes never share a stream.
enum class RngPurpose : uint32_t {
  kInit = 1,
  kRouterNoise = 2,
  kInputJitter = 3,
  kCapacityOrder = 4,
  kSampling = 5,
  kDataOrder = 6,
  kRouterSelect = 7,
  kTest = 99,
};

struct Philox {
  uint32_t key[2];

  // Mixes the five coordinates into the 64-bit key with the SplitMix64 finaliser after each word.
  SY_HD static Philox keyed(uint64_t seed, uint64_t step, uint64_t sample, uint32_t layer, RngPurpose purpose) {
    uint64_t h = mix(seed + 0x9e3779b97f4a7c15ull);
    h = mix(h ^ step);
    h = mix(h ^ sample);
    h = mix(h ^ ((static_cast<uint64_t>(layer) << 32) | static_cast<uint32_t>(purpose)));
    return Philox{{static_cast<uint32_t>(h), static_cast<uint32_t>(h >> 32)}};
  }

  // Four 32-bit words for the 128-bit counter (lo, hi).
  SY_HD void words(uint64_t lo, uint64_t hi, uint32_t out[4]) const {
    uint32_t c0 = static_cast<uint32_t>(lo), c1 = static_cast<uint32_t>(lo >> 32);
    uint32_t c2 = static_cast<uint32_t>(hi), c3 = static_cast<uint32_t>(hi >> 32);
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
      const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(p1);
      c3 = static_cast<uint32_t>(p0);
      c0 = n0;
      c2 = n2;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
  }

  // Uniform in (0, 1) with 53 bits, never 0 nor 1.
  SY_HD double uniform(uint64_t index) const {
    uint32_t w[4];
    words(index, 0, w);
    const uint64_t bits = (static_cast<uint64_t>(w[0]) << 21) ^ (w[1] >> 11);
    return (static_cast<double>(bits & ((1ull << 53) - 1)) + 0.5) * (1.0 / 9007199254740992.0);
  }

  // Standard normal by Box-Muller; one normal per index.
  SY_HD double normal(uint64_t index) const {
    uint32_t w[4];
    words(index, 1, w);
    const uint64_t a = (static_cast<uint64_t>(w[0]) << 21) ^ (w[1] >> 11);
    const uint64_t b = (static_cast<uint64_t>(w[2]) << 21) ^ (w[3] >> 11);
    const double u = (static_cast<double>(a & ((1ull << 53) - 1)) + 0.5) * (1.0 / 9007199254740992.0);
    const double v = (static_cast<double>(b & ((1ull << 53) - 1)) + 0.5) * (1.0 / 9007199254740992.0);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
  }

  SY_HD static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
};

}  // namespace sy
