// CUDA bodies of the row permutation: one warp per row forward, one warp per token backward, one writer per output row.
#include "kernels/moe/gather_rows.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) gather_rows_forward_kernel(GatherRowsForward<T> args) {
  using A = Acc<T>;
  const int64_t r = warp_row();
  if (r >= *args.row_end) return;
  const int64_t token = args.row_token[r];
  T* y = args.y + r * args.dim;
  const T* x = args.x + token * args.dim;
  const A weight = token >= 0 && args.weight != nullptr ? args.weight[args.row_entry[r]] : A(1);
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) y[d] = token >= 0 ? T(A(x[d]) * weight) : T(A(0));
}

template <class T>
__global__ void __launch_bounds__(kBlock) gather_rows_backward_kernel(GatherRowsBackward<T> args) {
  using A = Acc<T>;
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  const int32_t begin = args.token_start[t], end = args.token_start[t + 1];
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) {
    A sum = 0;
    for (int32_t i = begin; i < end; ++i) {
      const int32_t n = args.token_entry[i];
      const int64_t row = args.entry_row[n];
      if (row >= 0) sum += A(args.dy[row * args.dim + d]) * (args.weight != nullptr ? args.weight[n] : A(1));
    }
    args.dx[t * args.dim + d] = T(sum);
  }
  if (args.dweight == nullptr) return;
  const T* x = args.x + t * args.dim;
  for (int32_t i = begin; i < end; ++i) {
    const int32_t n = args.token_entry[i];
    const int64_t row = args.entry_row[n];
    if (row < 0) continue;
    A dot = 0;
    for (int64_t d = lane_of(); d < args.dim; d += kWarp) dot += A(x[d]) * A(args.dy[row * args.dim + d]);
    dot = warp_sum(dot);
    if (lane_of() == 0) args.dweight[n] = dot;
  }
}

}  // namespace

template <class T>
void gather_rows_forward(Cuda ctx, const GatherRowsForward<T>& args) {
  if (args.rows == 0 || args.dim == 0) return;
  launch(gather_rows_forward_kernel<T>, grid_for(args.rows, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void gather_rows_backward(Cuda ctx, const GatherRowsBackward<T>& args) {
  SY_KERNEL_CHECK(args.dweight == nullptr || args.weight != nullptr);
  // Holes and dropped entries keep this zero: no warp visits them.
  if (args.dweight != nullptr && args.entries > 0)
    CUDA_CHECK(cudaMemsetAsync(args.dweight, 0, static_cast<size_t>(args.entries) * sizeof(Acc<T>),
                               static_cast<cudaStream_t>(ctx.stream)));
  if (args.tokens == 0 || args.dim == 0) return;
  launch(gather_rows_backward_kernel<T>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                               \
  template void gather_rows_forward(Cuda, const GatherRowsForward<T>&); \
  template void gather_rows_backward(Cuda, const GatherRowsBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
