// CUDA bodies of the balance losses. A loss is a sum by one block in a fixed order, in f64; gradients are written by
// one thread per element (or one warp per token), independent of the sum.
#include "kernels/moe/balance.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

constexpr int kSumThreads = 1024;  // of the one block that sums

// Sum over i in [0, count) of value(i) by one block; every thread receives it.
template <class Value>
__device__ inline double sum_over(int64_t count, Value value) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += value(i);
  return block_sum(sum);
}

// Log-sum-exp of a row by the calling warp.
template <class A>
__device__ inline A warp_log_sum_exp(const A* logits, int64_t count) {
  A largest = minus_infinity<A>(), sum = 0;
  for (int64_t e = lane_of(); e < count; e += kWarp) largest = larger(largest, logits[e]);
  largest = warp_max(largest);
  for (int64_t e = lane_of(); e < count; e += kWarp) sum += exp_of(logits[e] - largest);
  return largest + log_of(warp_sum(sum));
}

template <class A>
__device__ inline double load_balance_factor(const LoadBalance<A>& args) {
  return args.coefficient * static_cast<double>(args.experts) * args.state->inv_batch_tokens;
}

// Element (t, e) of the fraction table, in which a group's tokens share a row.
template <class A>
__device__ inline A fraction_of(const LoadBalance<A>& args, int64_t i) {
  return args.fraction[i / args.experts / args.group_tokens * args.experts + i % args.experts];
}

template <class A>
__global__ void __launch_bounds__(kSumThreads) load_balance_loss_kernel(LoadBalance<A> args) {
  const double sum = sum_over(args.tokens * args.experts, [&](int64_t i) {
    return static_cast<double>(fraction_of(args, i)) * static_cast<double>(args.probability[i]);
  });
  if (threadIdx.x == 0) *args.loss += load_balance_factor(args) * sum;
}

template <class A>
__global__ void __launch_bounds__(kBlock) load_balance_gradient_kernel(LoadBalance<A> args) {
  const int64_t i = global_thread();
  if (i >= args.tokens * args.experts) return;
  args.dprobability[i] = static_cast<A>(load_balance_factor(args)) * fraction_of(args, i);
}

template <class A>
__global__ void __launch_bounds__(kSumThreads) z_loss_kernel(ZLoss<A> args) {
  double sum = 0;  // of the tokens of this warp, held by its first lane
  for (int64_t t = warp_of(); t < args.tokens; t += kSumThreads / kWarp) {
    const double lse = static_cast<double>(warp_log_sum_exp(args.logits + t * args.experts, args.experts));
    if (lane_of() == 0) sum += lse * lse;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) *args.loss += args.coefficient * args.state->inv_batch_tokens * sum;
}

template <class A>
__global__ void __launch_bounds__(kBlock) z_loss_gradient_kernel(ZLoss<A> args) {
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  const A* logits = args.logits + t * args.experts;
  const A lse = warp_log_sum_exp(logits, args.experts);
  const A slope = static_cast<A>(2 * args.coefficient * args.state->inv_batch_tokens) * lse;
  for (int64_t e = lane_of(); e < args.experts; e += kWarp)
    args.dlogits[t * args.experts + e] = slope * exp_of(logits[e] - lse);
}

template <class A>
__global__ void __launch_bounds__(kSumThreads) entropy_loss_kernel(EntropyLoss<A> args) {
  // Only an exact zero is skipped: NaN must reach the loss.
  const double sum = sum_over(args.tokens * args.experts, [&](int64_t i) {
    const A p = args.probability[i];
    return p == A(0) ? 0.0 : -static_cast<double>(p * log_of(p));
  });
  if (threadIdx.x == 0) *args.loss += args.coefficient * args.state->inv_batch_tokens * sum;
}

template <class A>
__global__ void __launch_bounds__(kBlock) entropy_gradient_kernel(EntropyLoss<A> args) {
  const int64_t i = global_thread();
  if (i >= args.tokens * args.experts) return;
  const A p = args.probability[i], slope = static_cast<A>(-args.coefficient * args.state->inv_batch_tokens);
  args.dprobability[i] = p == A(0) ? A(0) : slope * (log_of(p) + A(1));
}

template <class A>
__global__ void __launch_bounds__(kSumThreads) squared_cv_kernel(SquaredCv<A> args) {
  const double count = static_cast<double>(args.count);
  const double factor = args.coefficient * static_cast<double>(args.tokens) * args.state->inv_batch_tokens;
  const double mean = sum_over(args.count, [&](int64_t i) { return static_cast<double>(args.values[i]); }) / count;
  const double squares = sum_over(args.count, [&](int64_t i) {
    const double d = static_cast<double>(args.values[i]) - mean;
    return d * d;
  });
  const double variance = squares / count;
  if (threadIdx.x == 0 && args.loss != nullptr && mean != 0) *args.loss += factor * variance / (mean * mean);
  if (args.dvalues == nullptr) return;
  for (int64_t i = threadIdx.x; i < args.count; i += kSumThreads) {
    const double d = static_cast<double>(args.values[i]) - mean;
    const double slope = d / (mean * mean) - variance / (mean * mean * mean);
    args.dvalues[i] = mean == 0 ? A(0) : static_cast<A>(factor * (2 / count) * slope);
  }
}

// One block per group counts the group's entries per expert in integers. Dynamic shared memory: experts + 1 counters.
template <class A>
__global__ void __launch_bounds__(kBlock) assignment_fraction_kernel(AssignmentFraction<A> args) {
  int* count = dynamic_shared<int>();
  for (int64_t e = threadIdx.x; e <= args.experts; e += kBlock) count[e] = 0;
  __syncthreads();
  const int64_t group = blockIdx.x;
  for (int64_t n = threadIdx.x; n < args.entries; n += kBlock) {
    if (args.expert[n] < 0 || args.token[n] / args.group_tokens != group) continue;
    atomicAdd(count + args.expert[n], 1);
    atomicAdd(count + args.experts, 1);
  }
  __syncthreads();
  const int entries = count[args.experts] > 0 ? count[args.experts] : 1;
  const double whole = args.divisor != 0 ? args.divisor * static_cast<double>(args.group_tokens) : entries;
  for (int64_t e = threadIdx.x; e < args.experts; e += kBlock)
    args.fraction[group * args.experts + e] = static_cast<A>(count[e] / whole);
}

// One block per expert; f64, so that the order of the additions does not show in f32.
template <class A>
__global__ void __launch_bounds__(kBlock) importance_forward_kernel(ImportanceForward<A> args) {
  const int64_t expert = blockIdx.x;
  const double sum = sum_over(
      args.entries, [&](int64_t n) { return args.expert[n] == expert ? static_cast<double>(args.weight[n]) : 0.0; });
  if (threadIdx.x == 0) args.importance[expert] = static_cast<A>(sum);
}

template <class A>
__global__ void __launch_bounds__(kBlock) importance_backward_kernel(ImportanceBackward<A> args) {
  const int64_t n = global_thread();
  if (n >= args.entries) return;
  args.dweight[n] = args.expert[n] < 0 ? A(0) : args.dimportance[args.expert[n]];
}

}  // namespace

template <class A>
void load_balance(Cuda ctx, const LoadBalance<A>& args) {
  if (args.tokens == 0 || args.experts == 0) return;
  SY_KERNEL_CHECK(args.group_tokens > 0 && args.tokens % args.group_tokens == 0);
  if (args.loss != nullptr) {
    launch(load_balance_loss_kernel<A>, dim3(1), dim3(kSumThreads), 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
  if (args.dprobability != nullptr) {
    launch(load_balance_gradient_kernel<A>, grid_for(args.tokens * args.experts, kBlock), kBlock, 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
}

template <class A>
void z_loss(Cuda ctx, const ZLoss<A>& args) {
  if (args.tokens == 0 || args.experts == 0) return;
  if (args.loss != nullptr) {
    launch(z_loss_kernel<A>, dim3(1), dim3(kSumThreads), 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
  if (args.dlogits != nullptr) {
    launch(z_loss_gradient_kernel<A>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
}

template <class A>
void entropy_loss(Cuda ctx, const EntropyLoss<A>& args) {
  if (args.tokens == 0 || args.experts == 0) return;
  if (args.loss != nullptr) {
    launch(entropy_loss_kernel<A>, dim3(1), dim3(kSumThreads), 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
  if (args.dprobability != nullptr) {
    launch(entropy_gradient_kernel<A>, grid_for(args.tokens * args.experts, kBlock), kBlock, 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
}

template <class A>
void squared_cv(Cuda ctx, const SquaredCv<A>& args) {
  if (args.count == 0) return;
  launch(squared_cv_kernel<A>, dim3(1), dim3(kSumThreads), 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void assignment_fraction(Cuda ctx, const AssignmentFraction<A>& args) {
  if (args.tokens == 0 || args.experts == 0) return;
  SY_KERNEL_CHECK(args.group_tokens > 0 && args.tokens % args.group_tokens == 0);
  const size_t counter_bytes = static_cast<size_t>(args.experts + 1) * sizeof(int);
  launch(assignment_fraction_kernel<A>, grid_for(args.tokens, args.group_tokens), kBlock, counter_bytes, ctx.stream,
         args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void importance_forward(Cuda ctx, const ImportanceForward<A>& args) {
  if (args.experts == 0) return;
  launch(importance_forward_kernel<A>, grid_for(args.experts, 1), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void importance_backward(Cuda ctx, const ImportanceBackward<A>& args) {
  if (args.entries == 0) return;
  launch(importance_backward_kernel<A>, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(A)                                                \
  template void load_balance(Cuda, const LoadBalance<A>&);               \
  template void z_loss(Cuda, const ZLoss<A>&);                           \
  template void entropy_loss(Cuda, const EntropyLoss<A>&);               \
  template void squared_cv(Cuda, const SquaredCv<A>&);                   \
  template void assignment_fraction(Cuda, const AssignmentFraction<A>&); \
  template void importance_forward(Cuda, const ImportanceForward<A>&);   \
  template void importance_backward(Cuda, const ImportanceBackward<A>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
