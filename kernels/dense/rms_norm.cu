// CUDA bodies of RMS normalisation: one warp per vector.
//
// The weight gradient is summed in the contract's fixed blocks of vectors, one thread per column and block, and then
// over the blocks in order.
#include "kernels/dense/rms_norm.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) rms_norm_forward_kernel(RmsNormForward<T> args) {
  using A = Acc<T>;
  const int64_t v = warp_row();
  if (v >= args.rows * args.groups) return;
  const int64_t row = v / args.groups, offset = v % args.groups * args.dim;
  const T* x = args.x + row * args.ldx + offset;
  T* y = args.y + row * args.ldy + offset;
  A squares = 0;
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) squares += A(x[d]) * A(x[d]);
  const A mean = warp_sum(squares) / static_cast<A>(args.dim);
  const A rstd = A(1) / sqrt_of(mean + static_cast<A>(args.epsilon));
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) y[d] = T(A(x[d]) * rstd * A(args.weight[d]));
  if (lane_of() == 0) args.rstd[v] = rstd;
}

template <class T>
__global__ void __launch_bounds__(kBlock) rms_norm_backward_kernel(RmsNormBackward<T> args) {
  using A = Acc<T>;
  const int64_t v = warp_row();
  if (v >= args.rows * args.groups) return;
  const int64_t row = v / args.groups, offset = v % args.groups * args.dim;
  const T* x = args.x + row * args.ldx + offset;
  const T* dy = args.dy + row * args.lddy + offset;
  T* dx = args.dx + row * args.lddx + offset;
  const A rstd = args.rstd[v];
  A dot = 0;
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) dot += A(dy[d]) * A(args.weight[d]) * (A(x[d]) * rstd);
  const A mean = warp_sum(dot) / static_cast<A>(args.dim);
  for (int64_t d = lane_of(); d < args.dim; d += kWarp)
    dx[d] = T(rstd * (A(dy[d]) * A(args.weight[d]) - A(x[d]) * rstd * mean));
}

// partials[block, d]: block y of the grid covers columns, block x one of the fixed blocks of vectors.
template <class T>
__global__ void __launch_bounds__(kBlock) rms_norm_partial_dweight_kernel(RmsNormBackward<T> args) {
  using A = Acc<T>;
  const int64_t d = static_cast<int64_t>(blockIdx.y) * kBlock + threadIdx.x;
  if (d >= args.dim) return;
  const int64_t vectors = args.rows * args.groups, block = blockIdx.x, blocks = gridDim.x;
  A sum = 0;
  for (int64_t v = vectors * block / blocks; v < vectors * (block + 1) / blocks; ++v) {
    const int64_t row = v / args.groups, offset = v % args.groups * args.dim + d;
    sum += A(args.dy[row * args.lddy + offset]) * (A(args.x[row * args.ldx + offset]) * args.rstd[v]);
  }
  args.partials[block * args.dim + d] = sum;
}

template <class A>
__global__ void __launch_bounds__(kBlock)
    add_partials_kernel(const A* partials, int64_t blocks, int64_t dim, A* dweight) {
  const int64_t d = global_thread();
  if (d >= dim) return;
  A sum = dweight[d];
  for (int64_t b = 0; b < blocks; ++b) sum += partials[b * dim + d];
  dweight[d] = sum;
}

}  // namespace

template <class T>
void rms_norm_forward(Cuda ctx, const RmsNormForward<T>& args) {
  if (args.rows * args.groups == 0 || args.dim == 0) return;
  launch(rms_norm_forward_kernel<T>, grid_for(args.rows * args.groups, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void rms_norm_backward(Cuda ctx, const RmsNormBackward<T>& args) {
  const int64_t vectors = args.rows * args.groups;
  if (vectors == 0 || args.dim == 0) return;
  launch(rms_norm_backward_kernel<T>, grid_for(vectors, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
  if (args.dweight == nullptr) return;
  const int64_t blocks = rms_norm_backward_partials(vectors, 1);
  const dim3 column_grid = grid_for(args.dim, kBlock);
  launch(rms_norm_partial_dweight_kernel<T>, dim3(static_cast<unsigned>(blocks), column_grid.x), kBlock, 0, ctx.stream,
         args);
  CUDA_CHECK(cudaGetLastError());
  launch(add_partials_kernel<Acc<T>>, column_grid, kBlock, 0, ctx.stream, args.partials, blocks, args.dim,
         args.dweight);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                         \
  template void rms_norm_forward(Cuda, const RmsNormForward<T>&); \
  template void rms_norm_backward(Cuda, const RmsNormBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
