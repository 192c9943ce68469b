// CUDA bodies of the weighted sum of expert rows: one warp per token (or per row), one writer per output row.
#include "kernels/moe/combine.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

// What entry n of token t adds up: its expert row, the token's identity row if it was dropped, or nothing.
template <class Args>
__device__ inline auto source_of(const Args& args, int64_t t, int32_t n) -> decltype(args.y) {
  const int64_t row = args.entry_row[n];
  if (row >= 0) return args.y + row * args.dim;
  return args.identity != nullptr ? args.identity + t * args.dim : nullptr;
}

template <class T>
__global__ void __launch_bounds__(kBlock) combine_forward_kernel(CombineForward<T> args) {
  using A = Acc<T>;
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  const int32_t begin = args.token_start[t], end = args.token_start[t + 1];
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) {
    A sum = 0;
    for (int32_t i = begin; i < end; ++i) {
      const int32_t n = args.token_entry[i];
      const T* source = source_of(args, t, n);
      if (source != nullptr) sum += (args.weight != nullptr ? args.weight[n] : A(1)) * A(source[d]);
    }
    args.out[t * args.dim + d] = T(sum);
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) combine_backward_rows_kernel(CombineBackward<T> args) {
  using A = Acc<T>;
  const int64_t r = warp_row();
  if (r >= *args.row_end) return;
  const int64_t token = args.row_token[r];
  const A weight = token >= 0 && args.weight != nullptr ? args.weight[args.row_entry[r]] : A(1);
  const T* dout = args.dout + token * args.dim;
  T* dy = args.dy + r * args.dim;
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) dy[d] = token >= 0 ? T(weight * A(dout[d])) : T(A(0));
}

template <class T>
__global__ void __launch_bounds__(kBlock) combine_backward_tokens_kernel(CombineBackward<T> args) {
  using A = Acc<T>;
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  const T* dout = args.dout + t * args.dim;
  A dropped = 0;  // weight that fell back on the identity
  for (int32_t i = args.token_start[t]; i < args.token_start[t + 1]; ++i) {
    const int32_t n = args.token_entry[i];
    if (args.entry_row[n] < 0) dropped += args.weight != nullptr ? args.weight[n] : A(1);
    const T* source = source_of(args, t, n);
    if (args.dweight == nullptr || source == nullptr) continue;
    A dot = 0;
    for (int64_t d = lane_of(); d < args.dim; d += kWarp) dot += A(dout[d]) * A(source[d]);
    dot = warp_sum(dot);
    if (lane_of() == 0) args.dweight[n] = dot;
  }
  if (args.didentity == nullptr) return;
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) args.didentity[t * args.dim + d] = T(dropped * A(dout[d]));
}

}  // namespace

template <class T>
void combine_forward(Cuda ctx, const CombineForward<T>& args) {
  if (args.tokens == 0 || args.dim == 0) return;
  launch(combine_forward_kernel<T>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void combine_backward(Cuda ctx, const CombineBackward<T>& args) {
  // Holes and dropped entries without an identity keep this zero: no warp writes them.
  if (args.dweight != nullptr && args.entries > 0)
    CUDA_CHECK(cudaMemsetAsync(args.dweight, 0, static_cast<size_t>(args.entries) * sizeof(Acc<T>),
                               static_cast<cudaStream_t>(ctx.stream)));
  if (args.dim == 0) return;
  if (args.rows > 0) {
    launch(combine_backward_rows_kernel<T>, grid_for(args.rows, kRowsPerBlock), kBlock, 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
  if (args.tokens == 0 || (args.dweight == nullptr && args.didentity == nullptr)) return;
  launch(combine_backward_tokens_kernel<T>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                        \
  template void combine_forward(Cuda, const CombineForward<T>&); \
  template void combine_backward(Cuda, const CombineBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
