// CUDA bodies of the integer counts per expert: one block over the experts; integer sums have no order.
#include "kernels/moe/counts.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

__device__ inline int64_t sum_of_counts(const int64_t* count, int64_t experts) {
  int64_t sum = 0;
  for (int64_t e = threadIdx.x; e < experts; e += kBlock) sum += count[e];
  return block_sum(sum);
}

__global__ void __launch_bounds__(kBlock) accumulate_counts_kernel(AccumulateCounts args) {
  const int64_t e = global_thread();
  if (e < args.experts) args.total[e] += args.count[e];
}

template <class A>
__global__ void __launch_bounds__(kBlock) count_fraction_kernel(CountFraction<A> args) {
  const int64_t sum = sum_of_counts(args.count, args.experts);
  for (int64_t e = threadIdx.x; e < args.experts; e += kBlock) {
    const double part = static_cast<double>(args.count[e]) / static_cast<double>(sum);
    args.fraction[e] = sum == 0 ? A(0) : static_cast<A>(part);
  }
}

template <class A>
__global__ void __launch_bounds__(kBlock) bias_update_kernel(BiasUpdate<A> args) {
  if (args.state->skip != 0) return;
  const int64_t sum = sum_of_counts(args.count, args.experts);
  // sign(mean - count) in integers: exact for any count.
  const auto sign = [&](int64_t e) {
    const int64_t difference = sum - args.count[e] * args.experts;
    return difference > 0 ? int64_t{1} : difference < 0 ? int64_t{-1} : int64_t{0};
  };
  int64_t total_sign = 0;
  for (int64_t e = threadIdx.x; e < args.experts; e += kBlock) total_sign += sign(e);
  total_sign = block_sum(total_sign);
  const double mean =
      args.center ? args.rate * static_cast<double>(total_sign) / static_cast<double>(args.experts) : 0.0;
  for (int64_t e = threadIdx.x; e < args.experts; e += kBlock)
    args.bias[e] = static_cast<A>(static_cast<double>(args.bias[e]) + args.rate * static_cast<double>(sign(e)) - mean);
}

}  // namespace

void accumulate_counts(Cuda ctx, const AccumulateCounts& args) {
  if (args.experts == 0) return;
  launch(accumulate_counts_kernel, grid_for(args.experts, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void count_fraction(Cuda ctx, const CountFraction<A>& args) {
  if (args.experts == 0) return;
  launch(count_fraction_kernel<A>, dim3(1), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void bias_update(Cuda ctx, const BiasUpdate<A>& args) {
  if (args.experts == 0) return;
  launch(bias_update_kernel<A>, dim3(1), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void count_fraction(Cuda, const CountFraction<float>&);
template void count_fraction(Cuda, const CountFraction<double>&);
template void bias_update(Cuda, const BiasUpdate<float>&);
template void bias_update(Cuda, const BiasUpdate<double>&);

}  // namespace sy::kernels
