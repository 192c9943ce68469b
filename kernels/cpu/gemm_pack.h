// Packing a block of a matrix into panels for the tile kernel: panel[k][0..width) with zeros beyond the matrix.
//
// An operand is seen as lines x k: lines are the rows of A or the columns of B. It is stored either with k contiguous
// (A[M,K], B[N,K]: element (line, k) at line*stride + k) or with lines contiguous (A[K,M], B[K,N]: at k*stride + line).
// Units: f32 and f64 pack as they are; bf16 packs as pairs of neighbours in k where the machine multiplies such pairs,
// else widened to f32.
#pragma once

#include <array>
#include <utility>

#include "kernels/cpu/gemm_tile.h"

namespace sy::kernels::cpu {

template <class T>
struct Pack {
  using Unit = T;
  static constexpr int kPerUnit = 1;  // elements of k in a unit
};
template <>
struct Pack<bf16> {
#if defined(__AVX512BF16__)
  using Unit = uint32_t;
  static constexpr int kPerUnit = 2;
#else
  using Unit = float;
  static constexpr int kPerUnit = 1;
#endif
};

// In-register transposition of an L x L block: log2(L) rounds of exchanging halves, quarters, ... of row pairs.
template <class Unit>
inline void transpose_block(Vec<Unit> (&v)[kLanes<Unit>]) {
  constexpr int kL = kLanes<Unit>;
  const auto round = [&]<int kStep, int... kI>(std::integral_constant<int, kStep>, std::integer_sequence<int, kI...>) {
#pragma GCC unroll 16
    for (int i = 0; i < kL; ++i) {
      if (i & kStep) continue;
      const Vec<Unit> x = v[i], y = v[i + kStep];
      v[i] = __builtin_shufflevector(x, y, ((kI & kStep) ? kL + (kI & ~kStep) : kI)...);
      v[i + kStep] = __builtin_shufflevector(x, y, ((kI & kStep) ? kL + kI : (kI | kStep))...);
    }
  };
  constexpr auto kAll = std::make_integer_sequence<int, kL>{};
  if constexpr (kL > 8) round(std::integral_constant<int, 8>{}, kAll);
  if constexpr (kL > 4) round(std::integral_constant<int, 4>{}, kAll);
  if constexpr (kL > 2) round(std::integral_constant<int, 2>{}, kAll);
  if constexpr (kL > 1) round(std::integral_constant<int, 1>{}, kAll);
}

// One unit at (line, unit k) of an operand with k contiguous; `count` is K in elements.
template <class T>
inline typename Pack<T>::Unit unit_at(const T* line, int64_t unit, int64_t count) {
  if constexpr (Pack<T>::kPerUnit == 2) {
    const uint32_t low = line[2 * unit].bits;
    const uint32_t high = 2 * unit + 1 < count ? line[2 * unit + 1].bits : 0u;
    return low | (high << 16);
  } else {
    return static_cast<typename Pack<T>::Unit>(line[unit]);
  }
}

template <class T>
inline Vec<typename Pack<T>::Unit> load_line_units(const T* p) {
  using Unit = typename Pack<T>::Unit;
  if constexpr (std::is_same_v<Unit, Acc<T>>) {
    return load(p);
  } else {
    Vec<Unit> v;
    memcpy(&v, p, sizeof(v));
    return v;
  }
}

// k contiguous: panel[u*width + l] for l < width. A store may spill past a row of the panel into the start of the next
// one, which is written later (hence the descending l); the buffer needs one vector of slack at its end.
template <class T>
inline void pack_transposed(const T* source, int64_t stride, int64_t lines, int64_t count, int width,
                            typename Pack<T>::Unit* panel) {
  using Unit = typename Pack<T>::Unit;
  constexpr int kL = kLanes<Unit>, kPer = Pack<T>::kPerUnit;
  const int64_t full = count / (kL * kPer) * kL;  // units in whole blocks
  const int64_t units = (count + kPer - 1) / kPer;
  const auto pack_block = [&](int64_t u, int l, auto has_line) {
    Vec<Unit> block[kL];
#pragma GCC unroll 16
    for (int i = 0; i < kL; ++i) {
      const T* line = source + (l + i) * stride + u * kPer;
      block[i] = has_line(l + i) ? load_line_units(line) : Vec<Unit>{};
      __builtin_prefetch(line + width * stride);  // the next panel's: lines are too far apart for the machine to see
    }
    transpose_block<Unit>(block);
#pragma GCC unroll 16
    for (int i = 0; i < kL; ++i) memcpy(panel + (u + i) * width + l, &block[i], sizeof(block[i]));
  };
  const bool has_all = lines >= (width + kL - 1) / kL * kL;
  for (int64_t u = 0; u < full; u += kL)
    for (int l = (width - 1) / kL * kL; l >= 0; l -= kL) {
      if (has_all) pack_block(u, l, [](int) { return true; });
      else pack_block(u, l, [&](int line) { return line < lines; });
    }
  for (int64_t u = full; u < units; ++u)
    for (int l = 0; l < width; ++l) panel[u * width + l] = l < lines ? unit_at(source + l * stride, u, count) : Unit{0};
}

inline constexpr int64_t kStraightRows = 8;  // rows of units that pack_panels takes at once

// Lines contiguous: rows [first, last) of units of one panel, panel[u*width + l]. Fetches the rows that come next.
template <class T>
inline void pack_straight(const T* source, int64_t stride, int64_t lines, int64_t count, int64_t first, int64_t last,
                          int width, typename Pack<T>::Unit* panel) {
  using Unit = typename Pack<T>::Unit;
  const int64_t n = lines < width ? lines : width;
  for (int64_t u = first; u < last; ++u) {
    const T* row = source + u * Pack<T>::kPerUnit * stride;
    Unit* out = panel + u * width;
    __builtin_prefetch(row + kStraightRows * Pack<T>::kPerUnit * stride);
    if constexpr (Pack<T>::kPerUnit == 2) {
      if (2 * u + 1 < count) {
        for (int64_t l = 0; l < n; ++l) out[l] = row[l].bits | (static_cast<uint32_t>(row[stride + l].bits) << 16);
      } else {
        for (int64_t l = 0; l < n; ++l) out[l] = row[l].bits;
      }
    } else {
      for (int64_t l = 0; l < n; ++l) out[l] = static_cast<Unit>(row[l]);
    }
    for (int64_t l = n; l < width; ++l) out[l] = Unit{0};
  }
}

// All panels of `lines` lines (of `width` each, one after the other) for `count` elements of k from `source` on.
template <int kWidth, class T>
inline void pack_panels(const T* source, int64_t stride, bool k_contiguous, int64_t lines, int64_t count,
                        typename Pack<T>::Unit* panels) {
  const int64_t units = (count + Pack<T>::kPerUnit - 1) / Pack<T>::kPerUnit;
  if (k_contiguous) {
    for (int64_t l = 0; l < lines; l += kWidth)
      pack_transposed(source + l * stride, stride, lines - l, count, kWidth, panels + l * units);
    return;
  }
  // A few rows at a time over all panels: long reads, and no walk down a column of pages for each panel.
  for (int64_t u = 0; u < units; u += kStraightRows)
    for (int64_t l = 0; l < lines; l += kWidth)
      pack_straight(source + l, stride, lines - l, count, u, u + kStraightRows < units ? u + kStraightRows : units,
                    kWidth, panels + l * units);
}

}  // namespace sy::kernels::cpu
