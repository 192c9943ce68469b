// AdamW (Loshchilov & Hutter 2019) on master weights, predicated by the step's skip flag.
//
//   g = grad * state->clip_coefficient
//   m = beta1 m + (1-beta1) g;   v = beta2 v + (1-beta2) g^2
//   master *= 1 - lr*lr_scale*weight_decay
//   master -= lr*lr_scale * (m / (1-beta1^step)) / (sqrt(v / (1-beta2^step)) + epsilon)
//   weight = T(master)            (when T is Acc<T>, weight may be null or alias master)
// lr and step come from *state; with state->skip nothing is touched. master, m, v, grad in Acc<T>. (torch.optim.AdamW
// order.)
#pragma once

#include "kernels/step_state.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct AdamW {
  const Acc<T>* grad = nullptr;
  Acc<T>* master = nullptr;
  Acc<T>* m = nullptr;
  Acc<T>* v = nullptr;
  T* weight = nullptr;
  const StepState* state = nullptr;
  int64_t count = 0;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0, lr_scale = 1;

  // Reads gradient, master and moments; writes master, moments and weight.
  Work work() const {
    using A = Acc<T>;
    return {.bytes = bytes_of<A, A, A, A, A, A, A, T>(count)};
  }
};

template <class T>
void adamw(Cpu, const AdamW<T>& args);
template <class T>
void adamw(Cuda, const AdamW<T>& args);

}  // namespace sy::kernels
