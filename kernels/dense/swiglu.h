// SwiGLU (Shazeer 2020):  a[r,j] = silu(h[r,j]) * h[r,width+j],  silu(z) = z / (1 + exp(-z)).
//
// h [rows, 2*width] (gate | up), a [rows, width], all in T; arithmetic in Acc<T>. dh and a are set.
// Rows are live up to row_end: when `row_end` is not null, only rows [0, *row_end) are touched (a device-side count).
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct SwigluForward {
  const T* h = nullptr;
  T* a = nullptr;
  int64_t rows = 0, width = 0;
  const int32_t* row_end = nullptr;

  Work work() const { return {.bytes = bytes_of<T, T, T>(rows * width)}; }
};

template <class T>
struct SwigluBackward {
  const T* da = nullptr;
  const T* h = nullptr;
  T* dh = nullptr;
  int64_t rows = 0, width = 0;
  const int32_t* row_end = nullptr;

  Work work() const { return {.bytes = bytes_of<T, T, T, T, T>(rows * width)}; }
};

template <class T>
void swiglu_forward(Cpu, const SwigluForward<T>& args);
template <class T>
void swiglu_forward(Cuda, const SwigluForward<T>& args);
template <class T>
void swiglu_backward(Cpu, const SwigluBackward<T>& args);
template <class T>
void swiglu_backward(Cuda, const SwigluBackward<T>& args);

}  // namespace sy::kernels
