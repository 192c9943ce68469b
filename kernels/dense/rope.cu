// CUDA body of rope: one thread per (token, pair) computes the angle once, in f64, and turns that pair of every head.
#include "kernels/dense/rope.h"

#include "kernels/cuda/math.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) rope_kernel(Rope<T> args) {
  using A = Acc<T>;
  const int64_t half = args.head_dim / 2, i = global_thread();
  if (i >= args.tokens * half) return;
  const int64_t token = i / half, pair = i % half;
  const double angle = static_cast<double>(args.position[token]) * args.inv_freq[pair];
  const double sine = args.inverse ? -sin(angle) : sin(angle);
  const A c = static_cast<A>(cos(angle) * args.scale), s = static_cast<A>(sine * args.scale);
  for (int64_t h = 0; h < args.heads; ++h) {
    T* x = args.x + token * args.ld + h * args.head_dim + pair;
    const A first = A(x[0]), second = A(x[half]);
    x[0] = T(first * c - second * s);
    x[half] = T(second * c + first * s);
  }
}

}  // namespace

template <class T>
void rope(Cuda ctx, const Rope<T>& args) {
  SY_KERNEL_CHECK(args.head_dim % 2 == 0);
  if (args.tokens * args.head_dim == 0) return;
  launch(rope_kernel<T>, grid_for(args.tokens * (args.head_dim / 2), kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void rope(Cuda, const Rope<float>&);
template void rope(Cuda, const Rope<bf16>&);
template void rope(Cuda, const Rope<double>&);

}  // namespace sy::kernels
