// CPU body of the router's link functions: one thread per block of tokens, rows vectorised where the operation allows.
#include "kernels/moe/router_scores.h"

#include <cmath>

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {
namespace {

constexpr double kTiny = 1e-20;  // of the contract: keeps a row of vanished sigmoids at zero instead of 0/0

template <class A>
A sigmoid(A x) {
  return A(1) / (A(1) + std::exp(-x));
}

template <class A>
A sum_of(const A* x, int64_t count) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += x[i];
  return sum;
}

// Sets score = softmax(logits) and returns the log-sum-exp. A NaN logit is skipped by the maximum and returns in the
// sum.
template <class A>
A softmax_row(const A* logits, A* score, int64_t count) {
  A largest = logits[0];
  for (int64_t e = 1; e < count; ++e) largest = logits[e] > largest ? logits[e] : largest;
  for (int64_t e = 0; e < count; ++e) score[e] = std::exp(logits[e] - largest);
  const A sum = sum_of(score, count), inverse = A(1) / sum;
#pragma omp simd
  for (int64_t e = 0; e < count; ++e) score[e] *= inverse;
  return largest + std::log(sum);
}

}  // namespace

template <class A>
void router_scores_forward(Cpu, const RouterScoresForward<A>& args) {
  const int64_t E = args.experts;
  if (args.tokens == 0 || E == 0) return;
#pragma omp parallel for schedule(static) if (args.tokens * E >= cpu_rows::kParallelElements)
  for (int64_t t = 0; t < args.tokens; ++t) {
    const A* logits = args.logits + t * E;
    A* score = args.score + t * E;
    if (args.link == ScoreLink::kSoftmax) {
      const A lse = softmax_row(logits, score, E);
      if (args.lse) args.lse[t] = lse;
      continue;
    }
    for (int64_t e = 0; e < E; ++e) score[e] = sigmoid(logits[e]);
    if (args.link == ScoreLink::kNormalisedSigmoid) {
      const A z = sum_of(score, E) + A(kTiny);
#pragma omp simd
      for (int64_t e = 0; e < E; ++e) score[e] /= z;
    }
  }
}

template <class A>
void router_scores_backward(Cpu, const RouterScoresBackward<A>& args) {
  const int64_t E = args.experts;
  if (args.tokens == 0 || E == 0) return;
#pragma omp parallel for schedule(static) if (args.tokens * E >= cpu_rows::kParallelElements)
  for (int64_t t = 0; t < args.tokens; ++t) {
    const A* score = args.score + t * E;
    const A* g = args.dscore + t * E;
    A* dlogits = args.dlogits + t * E;
    if (args.link == ScoreLink::kSigmoid) {
#pragma omp simd
      for (int64_t e = 0; e < E; ++e) dlogits[e] = score[e] * (A(1) - score[e]) * g[e];
      continue;
    }
    const A mean_g = cpu_rows::dot(score, g, E);
    if (args.link == ScoreLink::kSoftmax) {
#pragma omp simd
      for (int64_t e = 0; e < E; ++e) dlogits[e] = score[e] * (g[e] - mean_g);
      continue;
    }
    const A* logits = args.logits + t * E;
    A z = A(kTiny);
    for (int64_t e = 0; e < E; ++e) z += sigmoid(logits[e]);
      // raw / z is the score itself.
#pragma omp simd
    for (int64_t e = 0; e < E; ++e) dlogits[e] = score[e] * (A(1) - score[e] * z) * (g[e] - mean_g);
  }
}

template void router_scores_forward<float>(Cpu, const RouterScoresForward<float>&);
template void router_scores_forward<double>(Cpu, const RouterScoresForward<double>&);
template void router_scores_backward<float>(Cpu, const RouterScoresBackward<float>&);
template void router_scores_backward<double>(Cpu, const RouterScoresBackward<double>&);

}  // namespace sy::kernels
