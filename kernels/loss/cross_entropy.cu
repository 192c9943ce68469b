// CUDA bodies of the softmax cross-entropy: one block per row; the sum of losses by one block in a fixed order.
#include "kernels/loss/cross_entropy.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) cross_entropy_kernel(CrossEntropy<T> args) {
  using A = Acc<T>;
  const int64_t r = blockIdx.x, target = args.target[r];
  const A* logits = args.logits + r * args.ld;
  T* dlogits = args.dlogits != nullptr ? args.dlogits + r * args.ld : nullptr;
  if (target < 0) {
    if (threadIdx.x == 0) args.loss[r] = A(0);
    if (dlogits == nullptr) return;
    for (int64_t i = threadIdx.x; i < args.ld; i += kBlock) dlogits[i] = T(A(0));
    return;
  }
  A largest = minus_infinity<A>(), sum = 0;
  for (int64_t i = threadIdx.x; i < args.vocab; i += kBlock) largest = larger(largest, logits[i]);
  largest = block_max(largest);
  for (int64_t i = threadIdx.x; i < args.vocab; i += kBlock) sum += exp_of(logits[i] - largest);
  // Read before the barriers of the sum: behind them dlogits, which may be the same memory, is written.
  const A target_logit = logits[target];
  const A lse = largest + log_of(block_sum(sum));
  if (threadIdx.x == 0) args.loss[r] = lse - target_logit;
  if (dlogits == nullptr) return;
  const A weight = static_cast<A>(args.state->inv_loss_tokens);
  for (int64_t i = threadIdx.x; i < args.ld; i += kBlock) {
    const A p = i < args.vocab ? exp_of(logits[i] - lse) : A(0);
    dlogits[i] = T((i == target ? p - A(1) : p) * weight);
  }
}

template <class A>
__global__ void __launch_bounds__(1024) sum_loss_kernel(SumLoss<A> args) {
  double sum = 0;
  for (int64_t r = threadIdx.x; r < args.rows; r += blockDim.x) sum += static_cast<double>(args.loss[r]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) args.total[0] += args.state != nullptr ? sum * args.state->inv_loss_tokens : sum;
}

}  // namespace

template <class T>
void cross_entropy(Cuda ctx, const CrossEntropy<T>& args) {
  if (args.rows == 0) return;
  launch(cross_entropy_kernel<T>, grid_for(args.rows, 1), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void sum_loss(Cuda ctx, const SumLoss<A>& args) {
  if (args.rows == 0) return;
  launch(sum_loss_kernel<A>, dim3(1), dim3(1024), 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void cross_entropy(Cuda, const CrossEntropy<float>&);
template void cross_entropy(Cuda, const CrossEntropy<bf16>&);
template void cross_entropy(Cuda, const CrossEntropy<double>&);
template void sum_loss(Cuda, const SumLoss<float>&);
template void sum_loss(Cuda, const SumLoss<double>&);

}  // namespace sy::kernels
