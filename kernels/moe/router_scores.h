// Link functions from router logits to scores, all in the accumulation type A (f32 or f64).
//
// logits [tokens, experts] -> score [tokens, experts], and for softmax lse [tokens] (log-sum-exp, nullable).
//   kSoftmax: softmax over experts   kSigmoid: 1 / (1 + exp(-l))   kNormalisedSigmoid: sigmoid / (sum of sigmoids +
//   1e-20)
// Backward sets dlogits from dscore and score:  softmax p (g - <p,g>);  sigmoid s (1 - s) g;
// normalised sigmoid, with raw = score * z, z = sum of sigmoids (recomputed from logits):  raw (1 - raw) / z * (g -
// <score,g>).

#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

enum class ScoreLink : int32_t { kSoftmax = 0, kSigmoid = 1, kNormalisedSigmoid = 2 };

template <class A>
struct RouterScoresForward {
  const A* logits = nullptr;
  A* score = nullptr;
  A* lse = nullptr;
  int64_t tokens = 0, experts = 0;
  ScoreLink link = ScoreLink::kSoftmax;

  Work work() const { return {.bytes = bytes_of<A, A>(tokens * experts)}; }
};

template <class A>
struct RouterScoresBackward {
  const A* logits = nullptr;
  const A* score = nullptr;
  const A* dscore = nullptr;
  A* dlogits = nullptr;
  int64_t tokens = 0, experts = 0;
  ScoreLink link = ScoreLink::kSoftmax;

  Work work() const { return {.bytes = bytes_of<A, A, A>(tokens * experts)}; }
};

template <class A>
void router_scores_forward(Cpu, const RouterScoresForward<A>& args);
template <class A>
void router_scores_forward(Cuda, const RouterScoresForward<A>& args);
template <class A>
void router_scores_backward(Cpu, const RouterScoresBackward<A>& args);
template <class A>
void router_scores_backward(Cuda, const RouterScoresBackward<A>& args);

}  // namespace sy::kernels
