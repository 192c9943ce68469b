// A 64 x 64 tile of a matrix product by one block of 256 threads, operands staged through shared memory.
//
// acc[i][j] of thread t is element (row, column) = (t / 16 * 4 + i, t % 16 * 4 + j) of the tile. load_a(m, k) and
// load_b(k, n) return the operands as Acc and 0 outside their bounds; k runs over [0, depth). Each element is summed in
// ascending k, so the result does not depend on where the tile lies. kAlongK says in which direction an operand's
// neighbours in memory lie: threads of a warp then read neighbouring elements.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace sy::kernels::cuda {

inline constexpr int kTile = 64;       // rows and columns of the output tile
inline constexpr int kTileDepth = 16;  // elements of k per stage
inline constexpr int kPerThread = 4;   // rows and columns of a thread's part

__device__ inline int tile_row(int i) { return static_cast<int>(threadIdx.x) / 16 * kPerThread + i; }
__device__ inline int tile_column(int j) { return static_cast<int>(threadIdx.x) % 16 * kPerThread + j; }

template <class A, bool kAAlongK, bool kBAlongK, class LoadA, class LoadB>
__device__ inline void tile_product(int64_t depth, LoadA load_a, LoadB load_b, A (&acc)[kPerThread][kPerThread]) {
  // Four more columns keep the rows of a stage on different banks when it is written along k.
  __shared__ A a_tile[kTileDepth][kTile + 4];
  __shared__ A b_tile[kTileDepth][kTile + 4];
  for (int i = 0; i < kPerThread; ++i)
    for (int j = 0; j < kPerThread; ++j) acc[i][j] = A(0);
  for (int64_t k0 = 0; k0 < depth; k0 += kTileDepth) {
    for (int e = static_cast<int>(threadIdx.x); e < kTile * kTileDepth; e += kBlock) {
      const int a_k = kAAlongK ? e % kTileDepth : e / kTile, a_m = kAAlongK ? e / kTileDepth : e % kTile;
      const int b_k = kBAlongK ? e % kTileDepth : e / kTile, b_n = kBAlongK ? e / kTileDepth : e % kTile;
      a_tile[a_k][a_m] = k0 + a_k < depth ? load_a(a_m, k0 + a_k) : A(0);
      b_tile[b_k][b_n] = k0 + b_k < depth ? load_b(k0 + b_k, b_n) : A(0);
    }
    __syncthreads();
    for (int k = 0; k < kTileDepth; ++k) {
      A a[kPerThread], b[kPerThread];
      for (int i = 0; i < kPerThread; ++i) a[i] = a_tile[k][tile_row(i)];
      for (int j = 0; j < kPerThread; ++j) b[j] = b_tile[k][tile_column(j)];
      for (int i = 0; i < kPerThread; ++i)
        for (int j = 0; j < kPerThread; ++j) acc[i][j] += a[i] * b[j];
    }
    __syncthreads();
  }
}

}  // namespace sy::kernels::cuda
