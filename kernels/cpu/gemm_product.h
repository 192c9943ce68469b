// One thread's part of a matrix product: cache-blocked and packed. gemm and grouped_gemm split their outputs over it.
//
//   c[m, n] (= or +=) sum over k of a(i, k) * b(k, j)
//
// Sums run in Acc<In> in pieces of a fixed number of k, added in order: the bits of a row of C depend on K alone, not
// on m, n, the split over threads, or the row's place.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace sy::kernels::cpu {

// A matrix seen as lines x k (lines: rows of A, columns of B): k_contiguous: element at line*stride + k, else k*stride
// + line.
template <class In>
struct Operand {
  const In* data = nullptr;
  int64_t stride = 0;
  bool k_contiguous = true;

  Operand from_line(int64_t line) const { return {data + (k_contiguous ? line * stride : line), stride, k_contiguous}; }
  const In* at(int64_t line, int64_t k) const { return data + (k_contiguous ? line * stride + k : k * stride + line); }
};

template <class In, class Out>
struct Product {
  Operand<In> a, b;
  Out* c = nullptr;
  int64_t ldc = 0;
  int64_t m = 0, n = 0, k = 0;
  bool accumulate = false;

  // Rows [m0, m0 + rows) x columns [n0, n0 + columns) of this product.
  Product part(int64_t m0, int64_t rows, int64_t n0, int64_t columns) const {
    return {a.from_line(m0), b.from_line(n0), c + m0 * ldc + n0, ldc, rows, columns, k, accumulate};
  }
};

template <class In, class Out>
void serial_product(const Product<In, Out>& args);

// Splits over the threads of a new parallel region.
template <class In, class Out>
void parallel_product(const Product<In, Out>& args);

// Granularity at which outputs split without waste.
int64_t product_row_step();
template <class In>
int64_t product_column_step();

}  // namespace sy::kernels::cpu
