// C [M][N] = A [M][K] B [N][K]^T in bf16 with f32 sums, by a warp-specialised kernel of 128 x 128 x 64 tiles: the
// proof that the wrappers of kernels/cuda/hopper work together. Any M; N and K multiples of 8; 16-byte aligned
// pointers.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace sy::test {

struct TileGemm {
  const bf16 *a, *b;
  bf16* c;
  int64_t m, n, k;
  int num_blocks;  // each takes every num_blocks-th tile
};
void tile_gemm(kernels::Cuda, const TileGemm&);

}  // namespace sy::test
