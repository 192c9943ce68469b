// CUDA bodies of the combine weights: one thread per block of entries forward, one warp per token backward.
#include "kernels/moe/gate_weight.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class A>
constexpr A kTiny = static_cast<A>(1e-20);  // of the contract: a block of vanished scores weighs zero

// An entry that has a weight: neither a hole nor switched off.
template <class Args>
__device__ inline bool takes_part(const Args& args, int64_t n) {
  return args.expert[n] >= 0 && (args.active == nullptr || args.active[n] != 0);
}

template <class Args>
__device__ inline auto score_of(const Args& args, int64_t n) {
  return args.score[args.token[n] * args.experts + args.expert[n]];
}

template <class A, class Args>
__device__ inline A sum_of_scores(const Args& args, int64_t begin, int64_t end) {
  A sum = 0;
  for (int64_t n = begin; n < end; ++n)
    if (takes_part(args, n)) sum += score_of(args, n);
  return sum;
}

template <class A>
__device__ inline void softmax_block(const GateWeightForward<A>& args, int64_t begin, int64_t end) {
  A largest = minus_infinity<A>(), sum = 0;
  for (int64_t n = begin; n < end; ++n)
    if (takes_part(args, n)) largest = larger(largest, score_of(args, n));
  for (int64_t n = begin; n < end; ++n) {
    args.weight[n] = takes_part(args, n) ? exp_of(score_of(args, n) - largest) : A(0);
    sum += args.weight[n];
  }
  const A factor = static_cast<A>(args.scale) / sum;
  for (int64_t n = begin; n < end; ++n)
    if (takes_part(args, n)) args.weight[n] *= factor;
}

template <class A>
__global__ void __launch_bounds__(kBlock) gate_weight_forward_kernel(GateWeightForward<A> args, int64_t width) {
  const int64_t begin = global_thread() * width, end = begin + width;
  if (begin >= args.entries) return;
  if (args.mode == GateWeightMode::kSoftmax) return softmax_block(args, begin, end);
  A factor = static_cast<A>(args.scale);
  if (args.mode == GateWeightMode::kRenormalised) factor /= sum_of_scores<A>(args, begin, end) + kTiny<A>;
  for (int64_t n = begin; n < end; ++n) args.weight[n] = takes_part(args, n) ? factor * score_of(args, n) : A(0);
}

template <class A>
__global__ void __launch_bounds__(kBlock) gate_weight_backward_kernel(GateWeightBackward<A> args) {
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  A* dscore = args.dscore + t * args.experts;
  for (int64_t e = lane_of(); e < args.experts; e += kWarp) dscore[e] = A(0);
  __syncwarp();
  // Entries of one token may name one expert twice: one lane adds them in order.
  if (lane_of() != 0) return;
  const A scale = static_cast<A>(args.scale);
  // A scale of zero makes every weight and every gradient zero.
  const A inverse_scale = args.scale != 0 ? static_cast<A>(1 / args.scale) : A(0);
  int64_t block = -1;      // the block that `mean` and `factor` belong to
  A mean = 0, factor = 0;  // mean = sum_i dw_i w_i / scale; factor = scale / (Z + 1e-20)
  for (int32_t i = args.token_start[t]; i < args.token_start[t + 1]; ++i) {
    const int64_t n = args.token_entry[i];
    if (!takes_part(args, n)) continue;
    if (args.mode == GateWeightMode::kRaw) {
      dscore[args.expert[n]] += scale * args.dweight[n];
      continue;
    }
    if (n / args.per_token != block) {
      block = n / args.per_token;
      const int64_t begin = block * args.per_token, end = begin + args.per_token;
      mean = 0;
      for (int64_t j = begin; j < end; ++j)
        if (takes_part(args, j)) mean += args.dweight[j] * args.weight[j];
      mean *= inverse_scale;
      if (args.mode == GateWeightMode::kRenormalised) factor = scale / (sum_of_scores<A>(args, begin, end) + kTiny<A>);
    }
    const A slope = args.mode == GateWeightMode::kRenormalised ? factor : args.weight[n];
    dscore[args.expert[n]] += slope * (args.dweight[n] - mean);
  }
}

}  // namespace

template <class A>
void gate_weight_forward(Cuda ctx, const GateWeightForward<A>& args) {
  if (args.entries == 0) return;
  // Without a normalisation every entry stands for itself.
  const int64_t width = args.mode == GateWeightMode::kRaw ? 1 : args.per_token;
  SY_KERNEL_CHECK(width > 0 && args.entries % width == 0);
  launch(gate_weight_forward_kernel<A>, grid_for(args.entries / width, kBlock), kBlock, 0, ctx.stream, args, width);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void gate_weight_backward(Cuda ctx, const GateWeightBackward<A>& args) {
  SY_KERNEL_CHECK(args.mode == GateWeightMode::kRaw || (args.per_token > 0 && args.entries % args.per_token == 0));
  if (args.tokens == 0 || args.experts == 0) return;
  launch(gate_weight_backward_kernel<A>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(A)                                               \
  template void gate_weight_forward(Cuda, const GateWeightForward<A>&); \
  template void gate_weight_backward(Cuda, const GateWeightBackward<A>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
