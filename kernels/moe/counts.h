// Integer counts per expert: sums over micro-batches and ranks, the fractions that balance losses read, and the
// selection-bias update of loss-free balancing (Wang et al. 2024).
//
// accumulate_counts: total[i] += count[i] (i64).
// count_fraction:    fraction[e] (A, set) = count[e] / sum(count); 0 for every expert when the sum is 0.
// bias_update:       bias[e] (A) += rate * sign(mean(count) - count[e]); then, with center, minus the mean increment.
// Nothing if state->skip.
#pragma once

#include "kernels/step_state.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

struct AccumulateCounts {
  const int64_t* count = nullptr;
  int64_t* total = nullptr;
  int64_t experts = 0;

  Work work() const { return {.bytes = bytes_of<int64_t, int64_t, int64_t>(experts)}; }
};

template <class A>
struct CountFraction {
  const int64_t* count = nullptr;
  A* fraction = nullptr;
  int64_t experts = 0;

  Work work() const { return {.bytes = bytes_of<int64_t, A>(experts)}; }
};

template <class A>
struct BiasUpdate {
  const int64_t* count = nullptr;
  A* bias = nullptr;
  const StepState* state = nullptr;
  int64_t experts = 0;
  double rate = 0;
  bool center = false;

  Work work() const { return {.bytes = bytes_of<int64_t, A, A>(experts)}; }
};

void accumulate_counts(Cpu, const AccumulateCounts& args);
void accumulate_counts(Cuda, const AccumulateCounts& args);
template <class A>
void count_fraction(Cpu, const CountFraction<A>& args);
template <class A>
void count_fraction(Cuda, const CountFraction<A>& args);
template <class A>
void bias_update(Cpu, const BiasUpdate<A>& args);
template <class A>
void bias_update(Cuda, const BiasUpdate<A>& args);

}  // namespace sy::kernels
