// Kernels that try the wrappers of kernels/cuda/hopper, on a GPU (sm_90a) or on simulated CUDA. Each does something
// whose result the host can work out; pointers are device memory, 16-byte aligned.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace sy::test {

// Rows of 64 bf16 from (row, column) of `from`, 128 of them, to the same place of `to` (both [rows][columns]), through
// shared memory; with `add` they are added. Places outside `from` count as 0, places outside `to` are left alone.
struct BoxCopy {
  const bf16* from;
  bf16* to;
  int64_t rows, columns;
  int row, column;
  bool add;
};
void box_copy(kernels::Cuda, const BoxCopy&);

// D [64][64] = A B^T with A [64][64], B [64][64] over the last index, f32 sums. An operand that is not K-major is
// stored transposed. span: bytes of the swizzle, 128, 64 or 32.
struct TileProduct {
  const bf16 *a, *b;
  float* d;
  bool a_k_major, b_k_major;
  int span;
};
void tile_product(kernels::Cuda, const TileProduct&);

// D [64][64] = A B^T where row r of A is row rows[r] of a table with 64 columns, or zeros where rows[r] < 0.
struct GatheredProduct {
  const bf16* table;
  const int* rows;
  const bf16* b;
  float* d;
};
void gathered_product(kernels::Cuda, const GatheredProduct&);

// Each 8 x 8 matrix of the four at x is transposed to y.
void transpose_matrices(kernels::Cuda, const bf16* x, bf16* y);

// Two warpgroups of three append their number to `turns` alternately, three times each; the third gives its registers
// to them. turns [6], length [1] starts as 0.
void take_turns(kernels::Cuda, int* turns, int* length);

// Kernels launched early after each other, each of which sets values[i] to 3 values[i] + 1.
void chain_of_early_kernels(kernels::Cuda, int* values, int64_t count, int kernels);

}  // namespace sy::test
