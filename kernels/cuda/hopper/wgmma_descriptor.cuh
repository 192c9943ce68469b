// Descriptors of wgmma operands in shared memory, for bf16 tiles as bulk copies with a swizzle write them.
//
// A span of kSpan = 128, 64 or 32 bytes is one row of a copied box. Tiles start at multiples of 1024 bytes.
//   K-major   box {kSpan / 2 of k, rows of M or N}: rows follow each other, 8 of them make a pattern
//   MN-major  boxes {kSpan / 2 of M or N, rows of k}: one box is a slab, slabs follow each other at slab_bytes
// The next 16 of k are k_step_bytes further on, a step that stays inside the first box of a K-major tile.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace sy::kernels::cuda {

enum class Major : uint8_t { kK, kMn };

template <int kSpan>
SY_HD constexpr uint64_t wgmma_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes) {
  static_assert(kSpan == 128 || kSpan == 64 || kSpan == 32);
  constexpr uint64_t kSwizzle = kSpan == 128 ? 1 : kSpan == 64 ? 2 : 3;  // not the tensor map's numbers
  return kSwizzle << 62 | uint64_t{stride_bytes >> 4} << 32 | uint64_t{leading_bytes >> 4} << 16 |
         (address & 0x3ffff) >> 4;
}

template <int kSpan>
SY_HD constexpr uint64_t k_major_descriptor(uint32_t address) {
  return wgmma_descriptor<kSpan>(address, 16, 8 * kSpan);  // the leading offset is unused
}

template <int kSpan>
SY_HD constexpr uint64_t mn_major_descriptor(uint32_t address, uint32_t slab_bytes) {
  return wgmma_descriptor<kSpan>(address, slab_bytes, 8 * kSpan);
}

template <int kSpan, Major kMajor>
inline constexpr uint32_t k_step_bytes = kMajor == Major::kK ? 32 : 16 * kSpan;

// Never carries out of the address field: shared memory ends below 256 KiB.
SY_HD constexpr uint64_t advance(uint64_t descriptor, uint32_t bytes) { return descriptor + (bytes >> 4); }

}  // namespace sy::kernels::cuda
