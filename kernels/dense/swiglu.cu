// CUDA bodies of SwiGLU: one thread per element of the product; rows beyond a device-side count are left alone.
//
// With s = 1 / (1 + exp(-z)):  silu(z) = z s,  silu'(z) = s (1 + z (1 - s)).
#include "kernels/dense/swiglu.h"

#include "kernels/cuda/math.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) swiglu_forward_kernel(SwigluForward<T> args) {
  using A = Acc<T>;
  const int64_t i = global_thread();
  if (i >= (args.row_end != nullptr ? *args.row_end : args.rows) * args.width) return;
  const T* h = args.h + i / args.width * 2 * args.width + i % args.width;
  const A gate = A(h[0]), up = A(h[args.width]);
  args.a[i] = T(gate * sigmoid(gate) * up);
}

template <class T>
__global__ void __launch_bounds__(kBlock) swiglu_backward_kernel(SwigluBackward<T> args) {
  using A = Acc<T>;
  const int64_t i = global_thread();
  if (i >= (args.row_end != nullptr ? *args.row_end : args.rows) * args.width) return;
  const int64_t place = i / args.width * 2 * args.width + i % args.width;
  const A gate = A(args.h[place]), up = A(args.h[place + args.width]), da = A(args.da[i]), s = sigmoid(gate);
  args.dh[place] = T(da * up * s * (A(1) + gate * (A(1) - s)));
  args.dh[place + args.width] = T(da * gate * s);
}

}  // namespace

template <class T>
void swiglu_forward(Cuda ctx, const SwigluForward<T>& args) {
  if (args.rows * args.width == 0) return;
  launch(swiglu_forward_kernel<T>, grid_for(args.rows * args.width, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void swiglu_backward(Cuda ctx, const SwigluBackward<T>& args) {
  if (args.rows * args.width == 0) return;
  launch(swiglu_backward_kernel<T>, grid_for(args.rows * args.width, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                      \
  template void swiglu_forward(Cuda, const SwigluForward<T>&); \
  template void swiglu_backward(Cuda, const SwigluBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
