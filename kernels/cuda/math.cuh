// Elementary functions by the type of their argument: C++ overloads differ between nvcc's and the host's global
// namespace.
#pragma once

#include <cmath>

#include "kernels/cuda/launch.cuh"

namespace sy::kernels::cuda {

__device__ inline float exp_of(float x) { return expf(x); }
__device__ inline double exp_of(double x) { return exp(x); }
__device__ inline float log_of(float x) { return logf(x); }
__device__ inline double log_of(double x) { return log(x); }
__device__ inline float sqrt_of(float x) { return sqrtf(x); }
__device__ inline double sqrt_of(double x) { return sqrt(x); }

template <class A>
__device__ inline A larger(A a, A b) {
  return b > a ? b : a;  // keeps a when b is NaN
}
template <class A>
__device__ inline A sigmoid(A x) {
  return A(1) / (A(1) + exp_of(-x));
}
template <class A>
__device__ inline bool is_finite(A x) {
  return x - x == A(0);
}
template <class A>
__device__ inline A minus_infinity() {
  return static_cast<A>(-HUGE_VAL);
}

}  // namespace sy::kernels::cuda
