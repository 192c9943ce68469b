// CUDA bodies of the vocabulary-parallel cross-entropy: one block per row. Every thread merges the row's partials by
// itself: they are three numbers per rank.
#include "kernels/loss/vocab_parallel_cross_entropy.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class A>
__global__ void __launch_bounds__(kBlock) cross_entropy_partial_kernel(CrossEntropyPartial<A> args) {
  const int64_t r = blockIdx.x, target = args.target[r] - args.first_column;
  const int64_t counting = args.target[r] < 0 ? 0 : counting_columns(args.columns, args.first_column, args.vocab);
  const A* logits = args.logits + r * args.ld;
  A largest = minus_infinity<A>(), sum = 0;
  for (int64_t i = threadIdx.x; i < counting; i += kBlock) largest = larger(largest, logits[i]);
  largest = block_max(largest);
  // A shard of -inf alone adds nothing; -inf - -inf would be NaN.
  const A shift = largest == minus_infinity<A>() ? A(0) : largest;
  for (int64_t i = threadIdx.x; i < counting; i += kBlock) sum += exp_of(logits[i] - shift);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  A* partial = args.partial + 3 * r;
  partial[0] = largest;
  partial[1] = sum;
  partial[2] = target >= 0 && target < counting ? logits[target] : A(0);
}

template <class T>
__global__ void __launch_bounds__(kBlock) cross_entropy_merge_kernel(CrossEntropyMerge<T> args) {
  using A = Acc<T>;
  const int64_t r = blockIdx.x, target = args.target[r] - args.first_column;
  T* dlogits = args.dlogits != nullptr ? args.dlogits + r * args.ld : nullptr;
  if (args.target[r] < 0) {
    if (threadIdx.x == 0) args.loss[r] = A(0);
    if (dlogits == nullptr) return;
    for (int64_t i = threadIdx.x; i < args.ld; i += kBlock) dlogits[i] = T(A(0));
    return;
  }
  A largest = minus_infinity<A>(), sum = 0, target_logit = 0;
  for (int64_t k = 0; k < args.ranks; ++k) largest = larger(largest, args.partials[(k * args.rows + r) * 3]);
  for (int64_t k = 0; k < args.ranks; ++k) {
    const A* partial = args.partials + (k * args.rows + r) * 3;
    sum += partial[1] * exp_of(partial[0] - largest);
    target_logit += partial[2];
  }
  const A lse = largest + log_of(sum);
  if (threadIdx.x == 0) args.loss[r] = lse - target_logit;
  if (dlogits == nullptr) return;
  const A* logits = args.logits + r * args.ld;
  const A weight = static_cast<A>(args.state->inv_loss_tokens);
  const int64_t counting = counting_columns(args.columns, args.first_column, args.vocab);
  for (int64_t i = threadIdx.x; i < args.ld; i += kBlock) {
    const A p = i < counting ? exp_of(logits[i] - lse) : A(0);
    dlogits[i] = T((i == target && i < counting ? p - A(1) : p) * weight);
  }
}

}  // namespace

template <class A>
void cross_entropy_partial(Cuda ctx, const CrossEntropyPartial<A>& args) {
  if (args.rows == 0) return;
  launch(cross_entropy_partial_kernel<A>, grid_for(args.rows, 1), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void cross_entropy_merge(Cuda ctx, const CrossEntropyMerge<T>& args) {
  if (args.rows == 0) return;
  launch(cross_entropy_merge_kernel<T>, grid_for(args.rows, 1), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void cross_entropy_partial(Cuda, const CrossEntropyPartial<float>&);
template void cross_entropy_partial(Cuda, const CrossEntropyPartial<double>&);
template void cross_entropy_merge(Cuda, const CrossEntropyMerge<float>&);
template void cross_entropy_merge(Cuda, const CrossEntropyMerge<bf16>&);
template void cross_entropy_merge(Cuda, const CrossEntropyMerge<double>&);

}  // namespace sy::kernels
