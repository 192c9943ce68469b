// CUDA body of AdamW: one thread per element; what varies per step is read from the StepState on the device.
#include "kernels/optim/adamw.h"

#include <type_traits>

#include "kernels/cuda/math.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) adamw_kernel(AdamW<T> args) {
  using A = Acc<T>;
  // The same for all elements and computed once per block, in f64: 1 - beta^step loses its digits in f32.
  __shared__ A step_size, inverse_correction2, decay;
  if (args.state->skip != 0) return;
  if (threadIdx.x == 0) {
    const double step = static_cast<double>(args.state->step), lr = args.state->learning_rate * args.lr_scale;
    step_size = static_cast<A>(lr / (1 - pow(args.beta1, step)));
    inverse_correction2 = static_cast<A>(1 / (1 - pow(args.beta2, step)));
    decay = static_cast<A>(1 - lr * args.weight_decay);
  }
  __syncthreads();
  const int64_t i = global_thread();
  if (i >= args.count) return;
  const A g = args.grad[i] * static_cast<A>(args.state->clip_coefficient);
  const A m = static_cast<A>(args.beta1) * args.m[i] + static_cast<A>(1 - args.beta1) * g;
  const A v = static_cast<A>(args.beta2) * args.v[i] + static_cast<A>(1 - args.beta2) * g * g;
  const A w =
      args.master[i] * decay - step_size * m / (sqrt_of(v * inverse_correction2) + static_cast<A>(args.epsilon));
  args.m[i] = m;
  args.v[i] = v;
  args.master[i] = w;
  if (args.weight != nullptr) args.weight[i] = T(w);  // may be the master itself: the same value
}

}  // namespace

template <class T>
void adamw(Cuda ctx, const AdamW<T>& args) {
  if (args.count == 0) return;
  if constexpr (!std::is_same_v<T, Acc<T>>) SY_KERNEL_CHECK(args.weight);
  launch(adamw_kernel<T>, grid_for(args.count, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void adamw(Cuda, const AdamW<float>&);
template void adamw(Cuda, const AdamW<bf16>&);
template void adamw(Cuda, const AdamW<double>&);

}  // namespace sy::kernels
