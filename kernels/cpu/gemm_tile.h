// The inner kernel of matrix products: a tile of kRows x (2 vectors) of C kept in registers while k runs.
//
//   acc[i][j] = sum over k of a[i*row_step + k*k_step] * b[k*b_step + j]
//
// Unit is what one step of k reads: float, double, or two bf16 neighbours in k packed in a uint32_t (machines with bf16
// dot products). Each element of C is one chain of fused multiply-adds in ascending k, whatever its place in a tile:
// the bits of a row of C do not depend on how many rows are computed.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "kernels/cpu/simd.h"

namespace sy::kernels::cpu {

template <class Unit>
struct TileOf {
  using Sum = Unit;
};
template <>
struct TileOf<uint32_t> {
  using Sum = float;
};
template <class Unit>
using TileSum = typename TileOf<Unit>::Sum;

// Columns of a tile: two vectors.
template <class Unit>
inline constexpr int kTileColumns = 2 * kLanes<Unit>;
// Rows of a tile of the blocked product: as many as leave room in the register file (32 or 16 vector registers).
inline constexpr int kTileRows = kVectorBytes == 64 ? 12 : 6;

template <class Unit>
inline Vec<Unit> load_units(const Unit* p) {
  Vec<Unit> v;
  memcpy(&v, p, sizeof(v));
  return v;
}

template <class Unit>
[[gnu::always_inline]] inline void multiply_add(Vec<TileSum<Unit>>& sum, Unit a, Vec<Unit> b) {
#if defined(__AVX512BF16__)
  if constexpr (std::is_same_v<Unit, uint32_t>) {
    const __m512i pair = _mm512_set1_epi32(static_cast<int>(a));
    sum = _mm512_dpbf16_ps(sum, std::bit_cast<__m512bh>(pair), std::bit_cast<__m512bh>(b));
    return;
  } else
#endif
    sum += a * b;
}

template <int kRows, class Unit>
struct Tile {
  using Sum = TileSum<Unit>;
  Vec<Sum> sum[kRows][2];

  [[gnu::always_inline]] void run(int64_t k, const Unit* a, int64_t row_step, int64_t k_step, const Unit* b,
                                  int64_t b_step) {
    for (int i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = Vec<Sum>{};
    for (int64_t step = 0; step < k; ++step) {
      const Vec<Unit> b0 = load_units(b), b1 = load_units(b + kLanes<Unit>);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const Unit ai = a[i * row_step];
        multiply_add<Unit>(sum[i][0], ai, b0);
        multiply_add<Unit>(sum[i][1], ai, b1);
      }
      a += k_step;
      b += b_step;
    }
  }
};

// c[kRows, 2 vectors] (= or +=) the product of a and b; operands as above. For kernels that hold their blocks in
// scratch.
template <int kRows, class Unit>
inline void tile_product(int64_t k, const Unit* a, int64_t row_step, int64_t k_step, const Unit* b, int64_t b_step,
                         TileSum<Unit>* c, int64_t c_step, bool accumulate) {
  using Sum = TileSum<Unit>;
  Tile<kRows, Unit> tile;
  tile.run(k, a, row_step, k_step, b, b_step);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    Sum* row = c + i * c_step;
    if (accumulate) {
      tile.sum[i][0] += load(row);
      tile.sum[i][1] += load(row + kLanes<Sum>);
    }
    store(row, tile.sum[i][0]);
    store(row + kLanes<Sum>, tile.sum[i][1]);
  }
}

}  // namespace sy::kernels::cpu
