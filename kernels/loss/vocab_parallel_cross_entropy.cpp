// CPU bodies of the vocabulary-parallel cross-entropy: a row at a time, in vectors.
#include "kernels/loss/vocab_parallel_cross_entropy.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {
namespace {

template <class A>
constexpr A kLowest = -std::numeric_limits<A>::infinity();

}  // namespace

template <class A>
void cross_entropy_partial(Cpu, const CrossEntropyPartial<A>& args) {
  const int64_t counting = counting_columns(args.columns, args.first_column, args.vocab);
  cpu::parallel_pieces(args.rows, args.ld, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const A* logits = args.logits + r * args.ld;
      A* partial = args.partial + 3 * r;
      if (args.target[r] < 0 || counting == 0) {
        partial[0] = kLowest<A>;
        partial[1] = partial[2] = A(0);
        continue;
      }
      cpu::Vec<A> best = cpu::broadcast(kLowest<A>);
      cpu::for_vectors<A>(counting, [&](int64_t i, int64_t n) {
        const auto x = cpu::load_n(logits + i, n, kLowest<A>);
        best = x > best ? x : best;
      });
      const A top = cpu::max_lanes<A>(best);
      const A shift = top == kLowest<A> ? A(0) : top;  // a shard of -inf alone adds nothing; -inf - -inf would be NaN
      cpu::Vec<A> sums{};
      cpu::for_vectors<A>(counting, [&](int64_t i, int64_t n) {
        sums += cpu::exp_vec(cpu::load_n(logits + i, n, kLowest<A>) - shift);
      });
      const int64_t target = args.target[r] - args.first_column;
      partial[0] = top;
      partial[1] = cpu::sum_lanes<A>(sums);
      partial[2] = target >= 0 && target < counting ? logits[target] : A(0);
    }
  });
}

template <class T>
void cross_entropy_merge(Cpu, const CrossEntropyMerge<T>& args) {
  using A = Acc<T>;
  const int64_t counting = counting_columns(args.columns, args.first_column, args.vocab);
  cpu::parallel_pieces(args.rows, args.dlogits == nullptr ? 3 * args.ranks : args.ld, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* dlogits = args.dlogits == nullptr ? nullptr : args.dlogits + r * args.ld;
      if (args.target[r] < 0) {
        args.loss[r] = A(0);
        if (dlogits != nullptr) std::fill(dlogits, dlogits + args.ld, T(A(0)));
        continue;
      }
      const auto partial = [&](int64_t rank) { return args.partials + (rank * args.rows + r) * 3; };
      A top = kLowest<A>, sum = 0, target_logit = 0;
      for (int64_t k = 0; k < args.ranks; ++k) top = std::max(top, partial(k)[0]);
      for (int64_t k = 0; k < args.ranks; ++k) {
        sum += partial(k)[1] * std::exp(partial(k)[0] - top);
        target_logit += partial(k)[2];
      }
      const A lse = top + std::log(sum);
      args.loss[r] = lse - target_logit;
      if (dlogits == nullptr) continue;
      const A* logits = args.logits + r * args.ld;
      const A weight = static_cast<A>(args.state->inv_loss_tokens);
      cpu::for_vectors<A>(counting, [&](int64_t i, int64_t n) {
        cpu::store_n(dlogits + i, cpu::exp_vec(cpu::load_n(logits + i, n, kLowest<A>) - lse) * weight, n);
      });
      // The target's own logit may already be overwritten; the partials still hold it.
      const int64_t target = args.target[r] - args.first_column;
      if (target >= 0 && target < counting)
        dlogits[target] = static_cast<T>((std::exp(target_logit - lse) - A(1)) * weight);
      std::fill(dlogits + counting, dlogits + args.ld, T(A(0)));
    }
  });
}

template void cross_entropy_partial(Cpu, const CrossEntropyPartial<float>&);
template void cross_entropy_partial(Cpu, const CrossEntropyPartial<double>&);
template void cross_entropy_merge(Cpu, const CrossEntropyMerge<float>&);
template void cross_entropy_merge(Cpu, const CrossEntropyMerge<bf16>&);
template void cross_entropy_merge(Cpu, const CrossEntropyMerge<double>&);

}  // namespace sy::kernels
