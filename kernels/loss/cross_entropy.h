// Softmax cross-entropy of one chunk of logits, with the gradient formed in the same pass.
//
// logits [rows, ld] in Acc<T>, of which columns [0, vocab) count (the rest is vocabulary padding: masked, gradient 0);
// target [rows] i32, a negative target is ignored.  loss[r] = log sum_v exp logits[r,v] - logits[r,target[r]] in Acc<T>
// (0 for an ignored row), not yet divided by anything.
// dlogits [rows, ld] in T, nullable:  (softmax - onehot) * state->inv_loss_tokens, zero for ignored rows and pads.
// dlogits may alias logits when T is Acc<T>. Deterministic.
#pragma once

#include "kernels/step_state.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct CrossEntropy {
  const Acc<T>* logits = nullptr;
  const int32_t* target = nullptr;
  Acc<T>* loss = nullptr;
  T* dlogits = nullptr;
  const StepState* state = nullptr;  // read only when dlogits is wanted
  int64_t rows = 0, vocab = 0, ld = 0;

  Work work() const { return {.bytes = bytes_of<Acc<T>, T>(rows * vocab)}; }
};

// total[0] (f64) += sum of loss[0..rows) * state->inv_loss_tokens, in a fixed order; with state null the plain sum.
template <class A>
struct SumLoss {
  const A* loss = nullptr;
  double* total = nullptr;
  const StepState* state = nullptr;
  int64_t rows = 0;

  Work work() const { return {.bytes = bytes_of<A>(rows)}; }
};

template <class T>
void cross_entropy(Cpu, const CrossEntropy<T>& args);
template <class T>
void cross_entropy(Cuda, const CrossEntropy<T>& args);
template <class A>
void sum_loss(Cpu, const SumLoss<A>& args);
template <class A>
void sum_loss(Cuda, const SumLoss<A>& args);

}  // namespace sy::kernels
