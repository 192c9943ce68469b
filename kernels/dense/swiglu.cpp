// CPU bodies of SwiGLU: rows in pieces over the threads, gate and up halves side by side in vectors.
//
// With s = 1 / (1 + exp(-z)):  silu(z) = z s,  silu'(z) = s (1 + z (1 - s)).
#include "kernels/dense/swiglu.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {

namespace {

int64_t live_rows(int64_t rows, const int32_t* row_end) {
  return row_end == nullptr ? rows : std::min<int64_t>(rows, *row_end);
}

}  // namespace

template <class T>
void swiglu_forward(Cpu, const SwigluForward<T>& args) {
  using A = Acc<T>;
  cpu::parallel_pieces(live_rows(args.rows, args.row_end), args.width, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* gate = args.h + r * 2 * args.width;
      const T* up = gate + args.width;
      T* a = args.a + r * args.width;
      cpu::for_vectors<A>(args.width, [&](int64_t i, int64_t n) {
        const auto z = cpu::load_n(gate + i, n);
        cpu::store_n(a + i, z / (A(1) + cpu::exp_vec(-z)) * cpu::load_n(up + i, n), n);
      });
    }
  });
}

template <class T>
void swiglu_backward(Cpu, const SwigluBackward<T>& args) {
  using A = Acc<T>;
  cpu::parallel_pieces(live_rows(args.rows, args.row_end), args.width, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* da = args.da + r * args.width;
      const T* gate = args.h + r * 2 * args.width;
      const T* up = gate + args.width;
      T* dgate = args.dh + r * 2 * args.width;
      T* dup = dgate + args.width;
      cpu::for_vectors<A>(args.width, [&](int64_t i, int64_t n) {
        const auto z = cpu::load_n(gate + i, n), u = cpu::load_n(up + i, n), d = cpu::load_n(da + i, n);
        const auto s = A(1) / (A(1) + cpu::exp_vec(-z));
        cpu::store_n(dgate + i, d * u * (s * (A(1) + z * (A(1) - s))), n);
        cpu::store_n(dup + i, d * (z * s), n);
      });
    }
  });
}

#define SY_INSTANTIATE(T)                                     \
  template void swiglu_forward(Cpu, const SwigluForward<T>&); \
  template void swiglu_backward(Cpu, const SwigluBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)
#undef SY_INSTANTIATE

}  // namespace sy::kernels
