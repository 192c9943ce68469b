// CPU body of rope. Sequences share positions, so cosines and sines are tabulated per position (computed in f64, kept
// in Acc<T>) unless the positions reach beyond the number of tokens, as in generation.
#include "kernels/dense/rope.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {

namespace {

// turn[0..half) = cos * scale, turn[half..2 half) = sin * scale, negated for the inverse.
template <class T>
void fill_turn(const Rope<T>& args, int64_t position, Acc<T>* turn) {
  const int64_t half = args.head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * args.inv_freq[i];
    const double sine = std::sin(angle);
    turn[i] = static_cast<Acc<T>>(std::cos(angle) * args.scale);
    turn[half + i] = static_cast<Acc<T>>((args.inverse ? -sine : sine) * args.scale);
  }
}

template <class T>
void rotate(T* x, int64_t half, const Acc<T>* turn) {
  cpu::for_vectors<Acc<T>>(half, [&](int64_t i, int64_t n) {
    const auto first = cpu::load_n(x + i, n), second = cpu::load_n(x + half + i, n);
    const auto cosine = cpu::load_n(turn + i, n), sine = cpu::load_n(turn + half + i, n);
    cpu::store_n(x + i, first * cosine - second * sine, n);
    cpu::store_n(x + half + i, second * cosine + first * sine, n);
  });
}

}  // namespace

template <class T>
void rope(Cpu, const Rope<T>& args) {
  using A = Acc<T>;
  if (args.tokens <= 0) return;
  const int64_t half = args.head_dim / 2;
  int64_t positions = 0;
  for (int64_t t = 0; t < args.tokens; ++t) positions = std::max<int64_t>(positions, args.position[t] + 1);
  const bool tabulate = positions <= args.tokens;
  static thread_local cpu::Scratch table_scratch;
  A* table = tabulate ? table_scratch.reserve<A>(positions * 2 * half) : nullptr;
  if (tabulate)
    cpu::parallel_pieces(positions, 16 * half, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) fill_turn(args, p, table + p * 2 * half);
    });
  cpu::parallel_pieces(args.tokens, args.heads * args.head_dim, [&](int64_t begin, int64_t end) {
    static thread_local cpu::Scratch turn_scratch;
    A* own = turn_scratch.reserve<A>(2 * half);
    for (int64_t t = begin; t < end; ++t) {
      if (!tabulate) fill_turn(args, args.position[t], own);
      const A* turn = tabulate ? table + int64_t{args.position[t]} * 2 * half : own;
      for (int64_t h = 0; h < args.heads; ++h) rotate(args.x + t * args.ld + h * args.head_dim, half, turn);
    }
  });
}

template void rope(Cpu, const Rope<float>&);
template void rope(Cpu, const Rope<bf16>&);
template void rope(Cpu, const Rope<double>&);

}  // namespace sy::kernels
