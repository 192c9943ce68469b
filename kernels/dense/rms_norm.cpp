// CPU bodies of RMS normalisation. The weight gradient is summed in at most 64 fixed blocks of vectors, then over
// blocks in order: the same bits for every number of threads.
#include "kernels/dense/rms_norm.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {

template <class T>
void rms_norm_forward(Cpu, const RmsNormForward<T>& args) {
  using A = Acc<T>;
  const int64_t dim = args.dim;
  cpu::parallel_pieces(args.rows * args.groups, dim, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      const int64_t row = v / args.groups, group = v % args.groups;
      const T* x = args.x + row * args.ldx + group * dim;
      T* y = args.y + row * args.ldy + group * dim;
      cpu::Vec<A> squares{};
      cpu::for_vectors<A>(dim, [&](int64_t i, int64_t n) {
        const auto xi = cpu::load_n(x + i, n);
        squares += xi * xi;
      });
      const A rstd = A(1) / std::sqrt(cpu::sum_lanes<A>(squares) / static_cast<A>(dim) + static_cast<A>(args.epsilon));
      args.rstd[v] = rstd;
      cpu::for_vectors<A>(dim, [&](int64_t i, int64_t n) {
        cpu::store_n(y + i, cpu::load_n(x + i, n) * rstd * cpu::load_n(args.weight + i, n), n);
      });
    }
  });
}

template <class T>
void rms_norm_backward(Cpu, const RmsNormBackward<T>& args) {
  using A = Acc<T>;
  const int64_t dim = args.dim, vectors = args.rows * args.groups;
  if (vectors <= 0 || dim <= 0) return;
  const int64_t blocks = rms_norm_backward_partials(vectors, 1);
#pragma omp parallel for schedule(static) if (vectors * dim > cpu::kSerialElements)
  for (int64_t block = 0; block < blocks; ++block) {
    A* partial = args.dweight == nullptr ? nullptr : args.partials + block * dim;
    if (partial != nullptr) std::fill(partial, partial + dim, A(0));
    const int64_t end = vectors * (block + 1) / blocks;
    for (int64_t v = vectors * block / blocks; v < end; ++v) {
      const int64_t row = v / args.groups, offset = v % args.groups * dim;
      const T* x = args.x + row * args.ldx + offset;
      const T* dy = args.dy + row * args.lddy + offset;
      T* dx = args.dx + row * args.lddx + offset;
      const A rstd = args.rstd[v];
      cpu::Vec<A> dots{};
      cpu::for_vectors<A>(dim, [&](int64_t i, int64_t n) {
        const auto d = cpu::load_n(dy + i, n), xhat = cpu::load_n(x + i, n) * rstd;
        dots += d * cpu::load_n(args.weight + i, n) * xhat;
      });
      // In a loop of its own: compiled for both cases at once, the sums above may be rounded differently in each.
      if (partial != nullptr)
        cpu::for_vectors<A>(dim, [&](int64_t i, int64_t n) {
          const auto d = cpu::load_n(dy + i, n), xhat = cpu::load_n(x + i, n) * rstd;
          cpu::store_n(partial + i, cpu::load_n(partial + i, n) + d * xhat, n);
        });
      const A mean = cpu::sum_lanes<A>(dots) / static_cast<A>(dim);
      cpu::for_vectors<A>(dim, [&](int64_t i, int64_t n) {
        const auto g = cpu::load_n(dy + i, n) * cpu::load_n(args.weight + i, n);
        cpu::store_n(dx + i, (g - cpu::load_n(x + i, n) * rstd * mean) * rstd, n);
      });
    }
  }
  if (args.dweight == nullptr) return;
  for (int64_t block = 0; block < blocks; ++block)
    cpu::for_vectors<A>(dim, [&](int64_t i, int64_t n) {
      A* out = args.dweight + i;
      cpu::store_n(out, cpu::load_n(out, n) + cpu::load_n(args.partials + block * dim + i, n), n);
    });
}

#define SY_INSTANTIATE(T)                                        \
  template void rms_norm_forward(Cpu, const RmsNormForward<T>&); \
  template void rms_norm_backward(Cpu, const RmsNormBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)
#undef SY_INSTANTIATE

}  // namespace sy::kernels
