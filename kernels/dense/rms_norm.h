// RMS normalisation of vectors (Zhang & Sennrich 2019):  y = x / sqrt(mean(x^2) + eps) * weight.
//
// Shapes: `rows` outer rows, each with `groups` vectors of `dim` elements lying one after the other; the outer rows of
// x, y, dy, dx are ld* elements apart (ld >= groups*dim). A layer norm has groups = 1; a per-head q or k norm inside a
// fused qkv buffer has groups = heads. weight [dim] in T, rstd [rows*groups] in Acc<T>. Sums in Acc<T>.
// Backward, with xhat = x * rstd, g = dy * weight:  dx = rstd * (g - xhat * mean(g * xhat)),  dweight = sum dy * xhat.
// dx is set; dweight [dim] in Acc<T> is accumulated in a fixed order (deterministic).
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct RmsNormForward {
  const T* x = nullptr;
  const T* weight = nullptr;
  T* y = nullptr;
  Acc<T>* rstd = nullptr;
  int64_t rows = 0, groups = 1, dim = 0;
  int64_t ldx = 0, ldy = 0;
  double epsilon = 1e-6;

  Work work() const { return {.bytes = bytes_of<T, T>(rows * groups * dim)}; }
};

template <class T>
struct RmsNormBackward {
  const T* dy = nullptr;
  const T* x = nullptr;
  const T* weight = nullptr;
  const Acc<T>* rstd = nullptr;
  T* dx = nullptr;
  Acc<T>* dweight = nullptr;   // nullable: no weight gradient wanted
  Acc<T>* partials = nullptr;  // scratch of rms_norm_backward_partials(rows*groups, dim) elements
  int64_t rows = 0, groups = 1, dim = 0;
  int64_t lddy = 0, ldx = 0, lddx = 0;

  Work work() const { return {.bytes = bytes_of<T, T, T>(rows * groups * dim)}; }
};

// Elements of scratch that rms_norm_backward needs: a fixed number of row blocks, each with its partial dweight.
inline int64_t rms_norm_backward_partials(int64_t vectors, int64_t dim) {
  const int64_t blocks = vectors < 64 ? (vectors < 1 ? 1 : vectors) : 64;
  return blocks * dim;
}

template <class T>
void rms_norm_forward(Cpu, const RmsNormForward<T>& args);
template <class T>
void rms_norm_forward(Cuda, const RmsNormForward<T>& args);
template <class T>
void rms_norm_backward(Cpu, const RmsNormBackward<T>& args);
template <class T>
void rms_norm_backward(Cuda, const RmsNormBackward<T>& args);

}  // namespace sy::kernels
