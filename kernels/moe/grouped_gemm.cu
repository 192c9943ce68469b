// CUDA bodies of the grouped products: tiles of 64 x 64 through shared memory, segments found on the device.
//
// The host knows a bound on the rows only. forward and dgrad launch ceil(rows / 64) + experts row tiles, enough for any
// split into segments; a block finds its expert by walking the counts and leaves when there is no tile for it.
#include "kernels/moe/grouped_gemm.h"

#include "kernels/cuda/tile_product.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

struct RowTile {
  int64_t expert, first_row, num_rows;  // num_rows = 0: no tile for this block
};

__device__ inline RowTile find_row_tile(int64_t index, const int32_t* seg_start, const int32_t* seg_count,
                                        int64_t experts) {
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t count = seg_count[e], tiles = (count + kTile - 1) / kTile;
    if (index < tiles) {
      const int64_t offset = index * kTile;
      return {e, seg_start[e] + offset, count - offset < kTile ? count - offset : kTile};
    }
    index -= tiles;
  }
  return {0, 0, 0};
}

// y[r, n] = sum_k x[r, k] w[e](k, n): w[e] is [n, k] with kTransposed (forward), [k, n] without (dgrad).
template <class T, bool kTransposed>
__global__ void __launch_bounds__(kBlock)
    grouped_rows_kernel(const T* x, const T* w, T* y, const int32_t* seg_start, const int32_t* seg_count,
                        int64_t experts, int64_t depth, int64_t width) {
  const RowTile tile = find_row_tile(blockIdx.x, seg_start, seg_count, experts);
  if (tile.num_rows == 0) return;
  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kTile;
  const T* x_tile = x + tile.first_row * depth;
  const T* w_expert = w + tile.expert * depth * width;
  using A = Acc<T>;
  const auto load_x = [&](int m, int64_t k) { return m < tile.num_rows ? A(x_tile[m * depth + k]) : A(0); };
  const auto load_w = [&](int64_t k, int n) {
    const int64_t column = first_column + n;
    if (column >= width) return A(0);
    return A(w_expert[kTransposed ? column * depth + k : k * width + column]);
  };
  A acc[kPerThread][kPerThread];
  tile_product<A, true, kTransposed>(depth, load_x, load_w, acc);
  for (int i = 0; i < kPerThread; ++i) {
    if (tile_row(i) >= tile.num_rows) continue;
    T* row = y + (tile.first_row + tile_row(i)) * width + first_column;
    for (int j = 0; j < kPerThread; ++j)
      if (first_column + tile_column(j) < width) row[tile_column(j)] = T(acc[i][j]);
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) grouped_wgrad_kernel(GroupedGemmWgrad<T> args) {
  using A = Acc<T>;
  const int64_t expert = blockIdx.z, count = args.seg_count[expert];
  if (count == 0) return;
  const int64_t first_in = static_cast<int64_t>(blockIdx.x) * kTile,
                first_out = static_cast<int64_t>(blockIdx.y) * kTile;
  const T* dy = args.dy + static_cast<int64_t>(args.seg_start[expert]) * args.out_dim;
  const T* x = args.x + static_cast<int64_t>(args.seg_start[expert]) * args.in_dim;
  const auto load_dy = [&](int m, int64_t r) {
    return first_out + m < args.out_dim ? A(dy[r * args.out_dim + first_out + m]) : A(0);
  };
  const auto load_x = [&](int64_t r, int n) {
    return first_in + n < args.in_dim ? A(x[r * args.in_dim + first_in + n]) : A(0);
  };
  A acc[kPerThread][kPerThread];
  tile_product<A, false, false>(count, load_dy, load_x, acc);
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t out = first_out + tile_row(i);
    if (out >= args.out_dim) continue;
    A* row = args.dw + (expert * args.out_dim + out) * args.in_dim;
    for (int j = 0; j < kPerThread; ++j)
      if (first_in + tile_column(j) < args.in_dim) row[first_in + tile_column(j)] += acc[i][j];
  }
}

dim3 row_tile_grid(int64_t rows, int64_t experts, int64_t width) {
  return dim3(grid_for(ceil_div(rows, kTile) + experts, 1).x, static_cast<unsigned>(ceil_div(width, kTile)));
}

}  // namespace

template <class T>
void grouped_gemm_forward(Cuda ctx, const GroupedGemmForward<T>& args) {
  if (args.rows == 0 || args.experts == 0 || args.out_dim == 0) return;
  launch(grouped_rows_kernel<T, true>, row_tile_grid(args.rows, args.experts, args.out_dim), kBlock, 0, ctx.stream,
         args.x, args.w, args.y, args.seg_start, args.seg_count, args.experts, args.in_dim, args.out_dim);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void grouped_gemm_dgrad(Cuda ctx, const GroupedGemmDgrad<T>& args) {
  if (args.rows == 0 || args.experts == 0 || args.in_dim == 0) return;
  launch(grouped_rows_kernel<T, false>, row_tile_grid(args.rows, args.experts, args.in_dim), kBlock, 0, ctx.stream,
         args.dy, args.w, args.dx, args.seg_start, args.seg_count, args.experts, args.out_dim, args.in_dim);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void grouped_gemm_wgrad(Cuda ctx, const GroupedGemmWgrad<T>& args) {
  if (args.rows == 0 || args.experts == 0 || args.in_dim == 0 || args.out_dim == 0) return;
  const dim3 grid(static_cast<unsigned>(ceil_div(args.in_dim, kTile)),
                  static_cast<unsigned>(ceil_div(args.out_dim, kTile)), static_cast<unsigned>(args.experts));
  launch(grouped_wgrad_kernel<T>, grid, kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                                 \
  template void grouped_gemm_forward(Cuda, const GroupedGemmForward<T>&); \
  template void grouped_gemm_dgrad(Cuda, const GroupedGemmDgrad<T>&);     \
  template void grouped_gemm_wgrad(Cuda, const GroupedGemmWgrad<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
