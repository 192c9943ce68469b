// The sum over ranks of what each sent, in rank order.
//
// sum[i] (set) = segments[0, i] + segments[1, i] + ... + segments[R-1, i], added one after the other in Acc<T> and
// rounded once. segments [R, count] row-major. Deterministic, and the same bits from both bodies: only additions.
#pragma once

#include "kernels/types.h"

namespace sy::kernels {

template <class T>
struct SumSegments {
  const T* segments = nullptr;
  T* sum = nullptr;
  int64_t ranks = 1;  // R
  int64_t count = 0;
};

template <class T>
void sum_segments(Cpu, const SumSegments<T>& args);
template <class T>
void sum_segments(Cuda, const SumSegments<T>& args);

}  // namespace sy::kernels
