// Weighted sum of expert rows back to tokens, and its gradient.
//
// forward:  out[t] (set) = sum over t's entries n, ascending, of weight[n] * y[entry_row[n]]
//   + for entries without a row (dropped) weight[n] * identity[t] when `identity` is given ("overflow: identity").
// backward: dy[r] (set) = weight[row_entry[r]] * dout[row_token[r]], zero in pads, for rows below *row_end;
//   dweight[n] (set) = <dout[t], y[entry_row[n]]> (or <dout[t], identity[t]>; 0 for holes);
//   didentity[t] (set, when given) = sum of weight[n] over t's entries without a row, times dout[t].
// out, dout, identity [tokens, dim], y, dy [rows, dim] in T; weight, dweight [entries] in Acc<T>; weight null means 1.
// Sums in Acc<T>, one rounding at the end. Deterministic.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct CombineForward {
  const T* y = nullptr;
  const Acc<T>* weight = nullptr;
  const T* identity = nullptr;
  const int32_t* entry_row = nullptr;
  const int32_t* token_start = nullptr;
  const int32_t* token_entry = nullptr;
  T* out = nullptr;
  int64_t tokens = 0, entries = 0, dim = 0;

  Work work() const { return {.bytes = bytes_of<T>((entries + tokens) * dim)}; }
};

template <class T>
struct CombineBackward {
  const T* dout = nullptr;
  const T* y = nullptr;
  const T* identity = nullptr;
  const Acc<T>* weight = nullptr;
  const int32_t* entry_row = nullptr;
  const int32_t* token_start = nullptr;
  const int32_t* token_entry = nullptr;
  const int32_t* row_token = nullptr;
  const int32_t* row_entry = nullptr;
  const int32_t* row_end = nullptr;
  T* dy = nullptr;
  Acc<T>* dweight = nullptr;  // nullable
  T* didentity = nullptr;     // nullable
  int64_t tokens = 0, entries = 0, rows = 0, dim = 0;

  Work work() const { return {.bytes = bytes_of<T, T, T>(rows * dim)}; }
};

template <class T>
void combine_forward(Cpu, const CombineForward<T>& args);
template <class T>
void combine_forward(Cuda, const CombineForward<T>& args);
template <class T>
void combine_backward(Cpu, const CombineBackward<T>& args);
template <class T>
void combine_backward(Cuda, const CombineBackward<T>& args);

}  // namespace sy::kernels
