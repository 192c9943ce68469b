// Row arithmetic shared by the CPU bodies of this folder: rows of T, sums in Acc<T>, one rounding at the end.
//
// Every function runs in the calling thread and sums in an order fixed by the length alone, so a caller that hands
// whole rows to threads gets the same bits with any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/types.h"

namespace sy::kernels::cpu_rows {

// Below this many touched elements waking the threads costs more than it saves.
inline constexpr int64_t kParallelElements = 16384;

// Columns that a sum over entries keeps at once: the accumulators stay in the first-level cache.
inline constexpr int64_t kColumns = 512;

// y (set) = T(value). For bf16 it assigns the bits: the compiler vectorises that, but not the copy of a class object.
template <class T>
inline void set_rounded(T& y, Acc<T> value) {
  if constexpr (sizeof(T) == sizeof(bf16)) y.bits = bf16(value).bits;
  else y = value;
}

template <class T>
Acc<T> dot(const T* a, const T* b, int64_t count) {
  Acc<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += static_cast<Acc<T>>(a[i]) * static_cast<Acc<T>>(b[i]);
  return sum;
}

// y[i] (set) = scale * x[i]
template <class T>
void scale(T* y, const T* x, Acc<T> scale, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) set_rounded(y[i], scale * static_cast<Acc<T>>(x[i]));
}

// sum[i] += scale * x[i]
template <class T>
void add_scaled(Acc<T>* sum, const T* x, Acc<T> scale, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) sum[i] += scale * static_cast<Acc<T>>(x[i]);
}

// y[i] (set) = T(sum[i])
template <class T>
void store(T* y, const Acc<T>* sum, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) set_rounded(y[i], sum[i]);
}

// All bits zero is the number zero in every element type.
template <class T>
void clear(T* y, int64_t count) {
  if (count > 0) std::memset(static_cast<void*>(y), 0, static_cast<size_t>(count) * sizeof(T));
}

}  // namespace sy::kernels::cpu_rows
