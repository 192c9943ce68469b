// CPU bodies of the sigmoid gate: rows in pieces over the threads.
#include "kernels/moe/sigmoid_gate.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {

namespace {

template <class T>
Acc<T> sigmoid(T gate) {
  using A = Acc<T>;
  return A(1) / (A(1) + std::exp(-static_cast<A>(gate)));
}

}  // namespace

template <class T>
void sigmoid_gate_forward(Cpu, const SigmoidGateForward<T>& args) {
  using A = Acc<T>;
  cpu::parallel_pieces(args.rows, args.dim, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const A s = sigmoid(args.gate[r]);
      const T* x = args.x + r * args.dim;
      T* y = args.y + r * args.dim;
      cpu::for_vectors<A>(args.dim, [&](int64_t i, int64_t n) { cpu::store_n(y + i, cpu::load_n(x + i, n) * s, n); });
    }
  });
}

template <class T>
void sigmoid_gate_backward(Cpu, const SigmoidGateBackward<T>& args) {
  using A = Acc<T>;
  cpu::parallel_pieces(args.rows, args.dim, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const A s = sigmoid(args.gate[r]);
      const T *dy = args.dy + r * args.dim, *x = args.x + r * args.dim;
      T* dx = args.dx + r * args.dim;
      cpu::Vec<A> dots{};
      cpu::for_vectors<A>(args.dim, [&](int64_t i, int64_t n) {
        const auto d = cpu::load_n(dy + i, n);
        dots += d * cpu::load_n(x + i, n);
        cpu::store_n(dx + i, d * s, n);
      });
      args.dgate[r] = static_cast<T>(s * (A(1) - s) * cpu::sum_lanes<A>(dots));
    }
  });
}

#define SY_INSTANTIATE(T)                                                \
  template void sigmoid_gate_forward(Cpu, const SigmoidGateForward<T>&); \
  template void sigmoid_gate_backward(Cpu, const SigmoidGateBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)
#undef SY_INSTANTIATE

}  // namespace sy::kernels
