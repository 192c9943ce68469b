// Rows weighted by a gate of their own (the shared expert of Qwen2-MoE):  y[r, :] = sigmoid(gate[r]) x[r, :].
//
// gate [rows], x, y [rows, dim] in T; arithmetic in Acc<T>. Backward, with s = sigmoid(gate[r]):
//   dx[r, :] = s dy[r, :]     dgate[r] = s (1 - s) sum over columns of dy[r, :] x[r, :]
// y, dx and dgate are set, in an order that depends on nothing but dim.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct SigmoidGateForward {
  const T* gate = nullptr;
  const T* x = nullptr;
  T* y = nullptr;
  int64_t rows = 0, dim = 0;

  Work work() const { return {.bytes = bytes_of<T, T>(rows * dim)}; }
};

template <class T>
struct SigmoidGateBackward {
  const T* dy = nullptr;
  const T* gate = nullptr;
  const T* x = nullptr;
  T* dx = nullptr;
  T* dgate = nullptr;
  int64_t rows = 0, dim = 0;

  Work work() const { return {.bytes = bytes_of<T, T, T>(rows * dim)}; }
};

template <class T>
void sigmoid_gate_forward(Cpu, const SigmoidGateForward<T>& args);
template <class T>
void sigmoid_gate_forward(Cuda, const SigmoidGateForward<T>& args);
template <class T>
void sigmoid_gate_backward(Cpu, const SigmoidGateBackward<T>& args);
template <class T>
void sigmoid_gate_backward(Cuda, const SigmoidGateBackward<T>& args);

}  // namespace sy::kernels
