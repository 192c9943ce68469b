// Plain element loops: copy with cast, addition, filling.
//
// cast:  y[i] = To(x[i]) (y += when accumulate).   add: y[i] = a[i] + b[i] (y may alias a or b).   fill: y[i] = value.
// add_row: y[r, i] += row[i].   scale: y[i] = factor x[i] (y may alias x).
// copy_columns: y[r, 0..columns) = x[r, 0..columns) with row strides. Sums of bf16 are
// formed in f32 and rounded once.
// cast exists for every pair of f32, bf16, f64; the others for each of them; fill also for i32.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class From, class To>
struct Cast {
  const From* x = nullptr;
  To* y = nullptr;
  int64_t count = 0;
  bool accumulate = false;

  Work work() const { return {.bytes = bytes_of<From, To>(count) + (accumulate ? bytes_of<To>(count) : 0)}; }
};
template <class T>
struct Add {
  const T* a = nullptr;
  const T* b = nullptr;
  T* y = nullptr;
  int64_t count = 0;

  Work work() const { return {.bytes = bytes_of<T, T, T>(count)}; }
};
template <class T>
struct AddRow {
  const T* row = nullptr;
  T* y = nullptr;
  int64_t rows = 0, columns = 0;

  Work work() const { return {.bytes = bytes_of<T, T>(rows * columns)}; }
};
template <class T>
struct Scale {
  const T* x = nullptr;
  T* y = nullptr;
  int64_t count = 0;
  double factor = 1;

  Work work() const { return {.bytes = bytes_of<T, T>(count)}; }
};
template <class T>
struct Fill {
  T* y = nullptr;
  int64_t count = 0;
  double value = 0;

  Work work() const { return {.bytes = bytes_of<T>(count)}; }
};
template <class T>
struct CopyColumns {
  const T* x = nullptr;
  T* y = nullptr;
  int64_t rows = 0, columns = 0, ldx = 0, ldy = 0;

  Work work() const { return {.bytes = bytes_of<T, T>(rows * columns)}; }
};

template <class From, class To>
void cast(Cpu, const Cast<From, To>& args);
template <class From, class To>
void cast(Cuda, const Cast<From, To>& args);
template <class T>
void add(Cpu, const Add<T>& args);
template <class T>
void add(Cuda, const Add<T>& args);
template <class T>
void add_row(Cpu, const AddRow<T>& args);
template <class T>
void add_row(Cuda, const AddRow<T>& args);
template <class T>
void scale(Cpu, const Scale<T>& args);
template <class T>
void scale(Cuda, const Scale<T>& args);
template <class T>
void fill(Cpu, const Fill<T>& args);
template <class T>
void fill(Cuda, const Fill<T>& args);
template <class T>
void copy_columns(Cpu, const CopyColumns<T>& args);
template <class T>
void copy_columns(Cuda, const CopyColumns<T>& args);

}  // namespace sy::kernels
