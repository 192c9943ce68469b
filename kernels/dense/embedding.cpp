// CPU bodies of the embedding: rows copied; the gradient's rows are dealt out to threads by row, so that one thread
// adds all tokens of an id in ascending order.
#include "kernels/dense/embedding.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {

template <class T>
void embedding_forward(Cpu, const EmbeddingForward<T>& args) {
  cpu::parallel_pieces(args.tokens, args.dim, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = args.id[t] - args.first_row;
      const size_t bytes = static_cast<size_t>(args.dim) * sizeof(T);
      if (row >= 0 && row < args.vocab) memcpy(args.y + t * args.dim, args.table + row * args.dim, bytes);
      else memset(static_cast<void*>(args.y + t * args.dim), 0, bytes);  // zero bits are the number zero
    }
  });
}

template <class T>
void embedding_backward(Cpu, const EmbeddingBackward<T>& args) {
  using A = Acc<T>;
  const bool parallel = args.tokens * args.dim > cpu::kSerialElements;
#pragma omp parallel if (parallel)
  {
    const int threads = omp_get_num_threads(), self = omp_get_thread_num();
    for (int64_t t = 0; t < args.tokens; ++t) {
      const int64_t row = args.id[t] - args.first_row;
      if (row < 0 || row >= args.vocab || row % threads != self) continue;
      const T* dy = args.dy + t * args.dim;
      A* sum = args.dtable + row * args.dim;
      cpu::for_vectors<A>(args.dim, [&](int64_t i, int64_t n) {
        cpu::store_n(sum + i, cpu::load_n(sum + i, n) + cpu::load_n(dy + i, n), n);
      });
    }
  }
}

#define SY_INSTANTIATE(T)                                           \
  template void embedding_forward(Cpu, const EmbeddingForward<T>&); \
  template void embedding_backward(Cpu, const EmbeddingBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)
#undef SY_INSTANTIATE

}  // namespace sy::kernels
