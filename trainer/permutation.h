// A seeded permutation of 0 .. n-1 that needs no memory: a Feistel network over the smallest 4^b >= n, walked until the
// value falls below n (under four steps on average). Each index is computed alone, so order needs no stored table.
#pragma once

#include <cstdint>

#include "kernels/philox.h"

namespace sy {

class Permutation {
 public:
  Permutation(int64_t count, uint64_t key) : count_(static_cast<uint64_t>(count)), key_(key) {
    while ((uint64_t{1} << (2 * half_bits_)) < count_) ++half_bits_;
  }
  // Requires 0 <= index < count.
  int64_t operator()(int64_t index) const {
    auto value = static_cast<uint64_t>(index);
    do value = encrypt(value);
    while (value >= count_);
    return static_cast<int64_t>(value);
  }

 private:
  static constexpr uint64_t kRounds = 8;

  uint64_t encrypt(uint64_t value) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = value >> half_bits_, right = value & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = Philox::mix(key_ ^ Philox::mix(right + (round << 56) + 0x9e3779b97f4a7c15ull));
      const uint64_t next = (left ^ mixed) & mask;
      left = right;
      right = next;
    }
    return (left << half_bits_) | right;
  }

  uint64_t count_, key_;
  int half_bits_ = 1;
};

}  // namespace sy
