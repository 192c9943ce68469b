// CUDA bodies of the routing noise: one thread per element, which derives its own stream and counter.
#include "kernels/moe/token_noise.h"

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

// The stream of the sample of token t, and the counter of the token's element c in it.
struct Address {
  Philox stream;
  uint64_t counter;
};

template <class Args>
__device__ inline Address address_of(const Args& args, RngPurpose purpose, int64_t t, int64_t c) {
  const int64_t in_sample = t % args.seq_length * args.columns + c;
  const uint64_t sample = static_cast<uint64_t>(args.sample_id[t / args.seq_length]);
  const uint64_t step = static_cast<uint64_t>(args.state->step);
  return {Philox::keyed(args.state->seed, step, sample, args.layer, purpose), static_cast<uint64_t>(in_sample)};
}

template <class A>
__global__ void __launch_bounds__(kBlock) token_noise_kernel(TokenNoise<A> args) {
  const int64_t i = global_thread();
  if (i >= args.tokens * args.columns) return;
  const Address address = address_of(args, args.purpose, i / args.columns, i % args.columns);
  args.noise[i] = static_cast<A>(noise_value(address.stream, address.counter, args.kind));
}

template <class T>
__global__ void __launch_bounds__(kBlock) input_jitter_kernel(InputJitter<T> args) {
  using A = Acc<T>;
  const int64_t i = global_thread();
  if (i >= args.tokens * args.columns) return;
  const int64_t t = args.first_token + i / args.columns;
  const Address address = address_of(args, RngPurpose::kInputJitter, t, i % args.columns);
  const double u = address.stream.uniform(address.counter);
  args.y[i] = T(A(args.x[i]) * static_cast<A>(1.0 + args.epsilon * (2.0 * u - 1.0)));
}

}  // namespace

template <class A>
void token_noise(Cuda ctx, const TokenNoise<A>& args) {
  if (args.tokens * args.columns == 0) return;
  SY_KERNEL_CHECK(args.seq_length > 0);
  launch(token_noise_kernel<A>, grid_for(args.tokens * args.columns, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void input_jitter(Cuda ctx, const InputJitter<T>& args) {
  if (args.tokens * args.columns == 0) return;
  SY_KERNEL_CHECK(args.seq_length > 0);
  launch(input_jitter_kernel<T>, grid_for(args.tokens * args.columns, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void token_noise(Cuda, const TokenNoise<float>&);
template void token_noise(Cuda, const TokenNoise<double>&);
template void input_jitter(Cuda, const InputJitter<float>&);
template void input_jitter(Cuda, const InputJitter<bf16>&);
template void input_jitter(Cuda, const InputJitter<double>&);

}  // namespace sy::kernels
