// Global gradient norm and the finite flag, without leaving the device.
//
// sum_squares: total[0] (f64) += weight * sum of x[i]^2, in a fixed order (blocks of 4096 elements, then block order).
//   A NaN or infinity in x makes total not finite.
// clip_coefficient: reads the reduced total and writes into *state: grad_norm_squared = total;
//   skip = 1 if total or *loss is not finite, else 0;  clip_coefficient = min(1, max_norm / (sqrt(total) + 1e-6)), 1 if
//   max_norm <= 0 or total is NaN.
#pragma once

#include "kernels/step_state.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class A>
struct SumSquares {
  const A* x = nullptr;
  double* total = nullptr;
  double* partials = nullptr;  // scratch of sum_squares_partials(count) elements
  int64_t count = 0;
  double weight = 1;

  Work work() const { return {.bytes = bytes_of<A>(count)}; }
};

inline int64_t sum_squares_partials(int64_t count) { return (count + 4095) / 4096 + 1; }

struct ClipCoefficient {
  const double* total = nullptr;
  const double* loss = nullptr;
  StepState* state = nullptr;
  double max_norm = 0;

  Work work() const { return {.bytes = sizeof(StepState)}; }
};

template <class A>
void sum_squares(Cpu, const SumSquares<A>& args);
template <class A>
void sum_squares(Cuda, const SumSquares<A>& args);
void clip_coefficient(Cpu, const ClipCoefficient& args);
void clip_coefficient(Cuda, const ClipCoefficient& args);

}  // namespace sy::kernels
