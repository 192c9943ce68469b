// Permutation of token rows into expert rows, and its gradient.
//
// forward:  y[r] = x[row_token[r]] * (weight ? weight[row_entry[r]] : 1) for rows of a token; pad rows are set to zero
//   (never garbage: 0 * NaN must not reach a product). Rows at and beyond *row_end are left alone (never read by
//   anyone).
// backward: dx[t] (set) = sum over t's entries, ascending, of dy[entry_row[entry]] * weight; entries without a row add
//   nothing. With weights also dweight[entry] (set) = <x[t], dy[row]>, 0 without a row.
// x, dx [tokens, dim] and y, dy [rows, dim] in T; weight, dweight [entries] in Acc<T>; sums in Acc<T>. Deterministic.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct GatherRowsForward {
  const T* x = nullptr;
  const int32_t* row_token = nullptr;
  const int32_t* row_entry = nullptr;
  const int32_t* row_end = nullptr;
  const Acc<T>* weight = nullptr;  // nullable
  T* y = nullptr;
  int64_t rows = 0, dim = 0;

  Work work() const { return {.bytes = bytes_of<T, T>(rows * dim)}; }
};

template <class T>
struct GatherRowsBackward {
  const T* dy = nullptr;
  const T* x = nullptr;  // read only with weight
  const int32_t* entry_row = nullptr;
  const int32_t* token_start = nullptr;
  const int32_t* token_entry = nullptr;
  const Acc<T>* weight = nullptr;  // nullable
  T* dx = nullptr;
  Acc<T>* dweight = nullptr;  // nullable; needs weight
  int64_t tokens = 0, entries = 0, dim = 0;

  Work work() const { return {.bytes = bytes_of<T>((entries + tokens) * dim)}; }
};

template <class T>
void gather_rows_forward(Cpu, const GatherRowsForward<T>& args);
template <class T>
void gather_rows_forward(Cuda, const GatherRowsForward<T>& args);
template <class T>
void gather_rows_backward(Cpu, const GatherRowsBackward<T>& args);
template <class T>
void gather_rows_backward(Cuda, const GatherRowsBackward<T>& args);

}  // namespace sy::kernels
