// Balance losses on router scores, values and gradients; every one already divided by global denominators.
//
// All sums run in a fixed order (deterministic). loss [1] f64 is accumulated (+=); gradients are set.
// state->inv_batch_tokens = 1 / tokens in the global batch, so that summing over micro-batches and ranks gives the loss
// of the whole batch.
//
// load_balance: probability P [tokens, experts] in A, fraction f [tokens/group_tokens, experts] in A (constants).
//   loss = coefficient * experts * inv_batch_tokens * sum_g sum_{t in g} sum_e f[g,e] P[t,e];  dP[t,e] = coefficient *
//   experts * inv * f[g,e]. (one group of all tokens: the micro-batch or global form alpha E sum f_e Pbar_e; one group
//   per sequence: the sequence form.)
// z_loss: loss = coefficient * inv * sum_t lse_t^2;  dlogits[t,j] = 2 coefficient * inv * lse_t * softmax(logits)[t,j].
// entropy_loss: loss = coefficient * inv * sum_t H_t, H = -sum P log P;  dP[t,e] = -coefficient * inv * (log P + 1), 0
// where P = 0. squared_cv: of v [count] in A:  loss = coefficient * fraction * var(v)/mean(v)^2 (population variance; 0
// if mean is 0),
//   dv[i] = coefficient * fraction * (2/count) * ((v_i - mean)/mean^2 - var/mean^3).
//   fraction = tokens * inv_batch_tokens: this micro-batch's share of the batch.
#pragma once

#include "kernels/step_state.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class A>
struct LoadBalance {
  const A* probability = nullptr;
  const A* fraction = nullptr;
  const StepState* state = nullptr;
  double* loss = nullptr;     // nullable: only the gradient is wanted
  A* dprobability = nullptr;  // nullable
  int64_t tokens = 0, experts = 0, group_tokens = 0;
  double coefficient = 0;

  Work work() const { return {.bytes = bytes_of<A, A>(tokens * experts)}; }
};

template <class A>
struct ZLoss {
  const A* logits = nullptr;
  const StepState* state = nullptr;
  double* loss = nullptr;
  A* dlogits = nullptr;
  int64_t tokens = 0, experts = 0;
  double coefficient = 0;

  Work work() const { return {.bytes = bytes_of<A, A>(tokens * experts)}; }
};

template <class A>
struct EntropyLoss {
  const A* probability = nullptr;
  const StepState* state = nullptr;
  double* loss = nullptr;
  A* dprobability = nullptr;
  int64_t tokens = 0, experts = 0;
  double coefficient = 0;

  Work work() const { return {.bytes = bytes_of<A, A>(tokens * experts)}; }
};

template <class A>
struct SquaredCv {
  const A* values = nullptr;
  const StepState* state = nullptr;
  double* loss = nullptr;
  A* dvalues = nullptr;
  int64_t count = 0, tokens = 0;
  double coefficient = 0;

  Work work() const { return {.bytes = bytes_of<A, A>(count)}; }
};

// fraction[g,e] (set) = number of entries n with token_n in group g and expert_n = e, divided by (divisor *
// group_tokens). (divisor = experts per token; 0 means: divide by the number of non-hole entries of the group instead,
// the form for a variable number of experts per token; a group without entries then has fraction 0.)
template <class A>
struct AssignmentFraction {
  const int32_t* token = nullptr;
  const int32_t* expert = nullptr;
  A* fraction = nullptr;
  int64_t entries = 0, tokens = 0, experts = 0, group_tokens = 0;
  double divisor = 1;

  Work work() const { return {.bytes = bytes_of<int32_t, int32_t>(entries)}; }
};

// importance[e] (set) = sum over entries of expert e of weight[n], ascending; backward dweight[n] (set) =
// dimportance[expert_n], 0 for holes.
template <class A>
struct ImportanceForward {
  const int32_t* expert = nullptr;
  const A* weight = nullptr;
  A* importance = nullptr;
  int64_t entries = 0, experts = 0;

  Work work() const { return {.bytes = bytes_of<int32_t, A>(entries)}; }
};
template <class A>
struct ImportanceBackward {
  const int32_t* expert = nullptr;
  const A* dimportance = nullptr;
  A* dweight = nullptr;
  int64_t entries = 0, experts = 0;

  Work work() const { return {.bytes = bytes_of<int32_t, A>(entries)}; }
};

template <class A>
void load_balance(Cpu, const LoadBalance<A>& args);
template <class A>
void load_balance(Cuda, const LoadBalance<A>& args);
template <class A>
void z_loss(Cpu, const ZLoss<A>& args);
template <class A>
void z_loss(Cuda, const ZLoss<A>& args);
template <class A>
void entropy_loss(Cpu, const EntropyLoss<A>& args);
template <class A>
void entropy_loss(Cuda, const EntropyLoss<A>& args);
template <class A>
void squared_cv(Cpu, const SquaredCv<A>& args);
template <class A>
void squared_cv(Cuda, const SquaredCv<A>& args);
template <class A>
void assignment_fraction(Cpu, const AssignmentFraction<A>& args);
template <class A>
void assignment_fraction(Cuda, const AssignmentFraction<A>& args);
template <class A>
void importance_forward(Cpu, const ImportanceForward<A>& args);
template <class A>
void importance_forward(Cuda, const ImportanceForward<A>& args);
template <class A>
void importance_backward(Cpu, const ImportanceBackward<A>& args);
template <class A>
void importance_backward(Cuda, const ImportanceBackward<A>& args);

}  // namespace sy::kernels
