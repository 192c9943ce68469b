// CUDA bodies of the sigmoid gate: one warp per row.
#include "kernels/moe/sigmoid_gate.h"

#include "kernels/cuda/math.cuh"
#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) sigmoid_gate_forward_kernel(SigmoidGateForward<T> args) {
  using A = Acc<T>;
  const int64_t row = warp_row();
  if (row >= args.rows) return;
  const A s = sigmoid(A(args.gate[row]));
  for (int64_t d = lane_of(); d < args.dim; d += kWarp)
    args.y[row * args.dim + d] = T(s * A(args.x[row * args.dim + d]));
}

template <class T>
__global__ void __launch_bounds__(kBlock) sigmoid_gate_backward_kernel(SigmoidGateBackward<T> args) {
  using A = Acc<T>;
  const int64_t row = warp_row();
  if (row >= args.rows) return;
  const A s = sigmoid(A(args.gate[row]));
  A dot = 0;
  for (int64_t d = lane_of(); d < args.dim; d += kWarp) {
    const A dy = A(args.dy[row * args.dim + d]);
    dot += dy * A(args.x[row * args.dim + d]);
    args.dx[row * args.dim + d] = T(s * dy);
  }
  const A sum = warp_sum(dot);
  if (lane_of() == 0) args.dgate[row] = T(s * (A(1) - s) * sum);
}

}  // namespace

template <class T>
void sigmoid_gate_forward(Cuda ctx, const SigmoidGateForward<T>& args) {
  if (args.rows * args.dim == 0) return;
  launch(sigmoid_gate_forward_kernel<T>, grid_for(args.rows, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void sigmoid_gate_backward(Cuda ctx, const SigmoidGateBackward<T>& args) {
  if (args.rows * args.dim == 0) return;
  launch(sigmoid_gate_backward_kernel<T>, grid_for(args.rows, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                                 \
  template void sigmoid_gate_forward(Cuda, const SigmoidGateForward<T>&); \
  template void sigmoid_gate_backward(Cuda, const SigmoidGateBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
