// CPU bodies of cast, add, add_row, scale, fill and copy_columns: one pass, in pieces over the threads.
#include "kernels/dense/elementwise.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {

namespace {

// double(x) through f32 for bf16 is exact; a double reaches bf16 through f32, as every other f32 value does.
template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, bf16> || std::is_same_v<From, bf16>) return static_cast<To>(static_cast<float>(x));
  else return static_cast<To>(x);
}

}  // namespace

template <class From, class To>
void cast(Cpu, const Cast<From, To>& args) {
  const From* x = args.x;
  To* y = args.y;
  cpu::parallel_pieces(args.count, 1, [&](int64_t begin, int64_t end) {
    if (args.accumulate) {
      // The sum is formed in the wider of the two types, at least f32.
      using Sum = std::conditional_t<std::is_same_v<From, double> || std::is_same_v<To, double>, double, float>;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = convert<To>(static_cast<Sum>(y[i]) + static_cast<Sum>(x[i]));
    } else {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = convert<To>(x[i]);
    }
  });
}

template <class T>
void add(Cpu, const Add<T>& args) {
  cpu::parallel_pieces(args.count, 1, [&](int64_t begin, int64_t end) {
    cpu::for_vectors<Acc<T>>(end - begin, [&](int64_t i, int64_t n) {
      cpu::store_n(args.y + begin + i, cpu::load_n(args.a + begin + i, n) + cpu::load_n(args.b + begin + i, n), n);
    });
  });
}

template <class T>
void add_row(Cpu, const AddRow<T>& args) {
  cpu::parallel_pieces(args.rows, args.columns, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* y = args.y + r * args.columns;
      cpu::for_vectors<Acc<T>>(args.columns, [&](int64_t i, int64_t n) {
        cpu::store_n(y + i, cpu::load_n(y + i, n) + cpu::load_n(args.row + i, n), n);
      });
    }
  });
}

template <class T>
void scale(Cpu, const Scale<T>& args) {
  const auto factor = static_cast<Acc<T>>(args.factor);
  cpu::parallel_pieces(args.count, 1, [&](int64_t begin, int64_t end) {
    cpu::for_vectors<Acc<T>>(end - begin, [&](int64_t i, int64_t n) {
      cpu::store_n(args.y + begin + i, cpu::load_n(args.x + begin + i, n) * factor, n);
    });
  });
}

template <class T>
void fill(Cpu, const Fill<T>& args) {
  T value;
  if constexpr (std::is_same_v<T, bf16>) value = bf16(static_cast<float>(args.value));
  else value = static_cast<T>(args.value);
  cpu::parallel_pieces(args.count, 1,
                       [&](int64_t begin, int64_t end) { std::fill(args.y + begin, args.y + end, value); });
}

template <class T>
void copy_columns(Cpu, const CopyColumns<T>& args) {
  if (args.columns <= 0) return;
  cpu::parallel_pieces(args.rows, args.columns, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      memcpy(args.y + r * args.ldy, args.x + r * args.ldx, static_cast<size_t>(args.columns) * sizeof(T));
  });
}

#define SY_CASTS_FROM(From)                          \
  template void cast(Cpu, const Cast<From, float>&); \
  template void cast(Cpu, const Cast<From, bf16>&);  \
  template void cast(Cpu, const Cast<From, double>&);
SY_CASTS_FROM(float)
SY_CASTS_FROM(bf16)
SY_CASTS_FROM(double)
#undef SY_CASTS_FROM

#define SY_INSTANTIATE(T)                       \
  template void add(Cpu, const Add<T>&);        \
  template void add_row(Cpu, const AddRow<T>&); \
  template void scale(Cpu, const Scale<T>&);    \
  template void fill(Cpu, const Fill<T>&);      \
  template void copy_columns(Cpu, const CopyColumns<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)
#undef SY_INSTANTIATE
template void fill(Cpu, const Fill<int32_t>&);

}  // namespace sy::kernels
