// CUDA bodies of the router's link functions: one warp per token.
#include "kernels/moe/router_scores.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class A>
constexpr A kTiny = static_cast<A>(1e-20);  // of the contract: a row of vanished sigmoids scores zero and not 0/0

template <class A>
__global__ void __launch_bounds__(kBlock) router_scores_forward_kernel(RouterScoresForward<A> args) {
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  const A* logits = args.logits + t * args.experts;
  A* score = args.score + t * args.experts;
  A largest = minus_infinity<A>(), sum = 0;
  if (args.link == ScoreLink::kSoftmax) {
    for (int64_t e = lane_of(); e < args.experts; e += kWarp) largest = larger(largest, logits[e]);
    largest = warp_max(largest);
  }
  for (int64_t e = lane_of(); e < args.experts; e += kWarp) {
    score[e] = args.link == ScoreLink::kSoftmax ? exp_of(logits[e] - largest) : sigmoid(logits[e]);
    sum += score[e];
  }
  if (args.link == ScoreLink::kSigmoid) return;
  sum = warp_sum(sum);
  const A divisor = args.link == ScoreLink::kSoftmax ? sum : sum + kTiny<A>;
  // Each lane rescales what it wrote itself.
  for (int64_t e = lane_of(); e < args.experts; e += kWarp) score[e] /= divisor;
  if (args.link == ScoreLink::kSoftmax && args.lse != nullptr && lane_of() == 0) args.lse[t] = largest + log_of(sum);
}

template <class A>
__global__ void __launch_bounds__(kBlock) router_scores_backward_kernel(RouterScoresBackward<A> args) {
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  const A* score = args.score + t * args.experts;
  const A* g = args.dscore + t * args.experts;
  A* dlogits = args.dlogits + t * args.experts;
  if (args.link == ScoreLink::kSigmoid) {
    for (int64_t e = lane_of(); e < args.experts; e += kWarp) dlogits[e] = score[e] * (A(1) - score[e]) * g[e];
    return;
  }
  A mean_g = 0;
  for (int64_t e = lane_of(); e < args.experts; e += kWarp) mean_g += score[e] * g[e];
  mean_g = warp_sum(mean_g);
  if (args.link == ScoreLink::kSoftmax) {
    for (int64_t e = lane_of(); e < args.experts; e += kWarp) dlogits[e] = score[e] * (g[e] - mean_g);
    return;
  }
  const A* logits = args.logits + t * args.experts;
  A z = 0;
  for (int64_t e = lane_of(); e < args.experts; e += kWarp) z += sigmoid(logits[e]);
  z = warp_sum(z) + kTiny<A>;
  // raw / z is the score itself.
  for (int64_t e = lane_of(); e < args.experts; e += kWarp)
    dlogits[e] = score[e] * (A(1) - score[e] * z) * (g[e] - mean_g);
}

}  // namespace

template <class A>
void router_scores_forward(Cuda ctx, const RouterScoresForward<A>& args) {
  if (args.tokens == 0 || args.experts == 0) return;
  launch(router_scores_forward_kernel<A>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void router_scores_backward(Cuda ctx, const RouterScoresBackward<A>& args) {
  if (args.tokens == 0 || args.experts == 0) return;
  launch(router_scores_backward_kernel<A>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(A)                                                   \
  template void router_scores_forward(Cuda, const RouterScoresForward<A>&); \
  template void router_scores_backward(Cuda, const RouterScoresBackward<A>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
