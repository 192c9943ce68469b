// CPU bodies of the softmax cross-entropy: a row at a time, in vectors; maximum, sum of exponentials, then the
// gradient.
#include "kernels/loss/cross_entropy.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace sy::kernels {

template <class T>
void cross_entropy(Cpu, const CrossEntropy<T>& args) {
  using A = Acc<T>;
  constexpr A kLowest = -std::numeric_limits<A>::infinity();
  cpu::parallel_pieces(args.rows, args.ld, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const A* logits = args.logits + r * args.ld;
      T* dlogits = args.dlogits == nullptr ? nullptr : args.dlogits + r * args.ld;
      const int64_t target = args.target[r];
      if (target < 0) {
        args.loss[r] = A(0);
        if (dlogits != nullptr) std::fill(dlogits, dlogits + args.ld, T(A(0)));
        continue;
      }
      cpu::Vec<A> best = cpu::broadcast(kLowest);
      cpu::for_vectors<A>(args.vocab, [&](int64_t i, int64_t n) {
        const auto x = cpu::load_n(logits + i, n, kLowest);
        best = x > best ? x : best;
      });
      const A top = cpu::max_lanes<A>(best);
      cpu::Vec<A> sums{};
      cpu::for_vectors<A>(
          args.vocab, [&](int64_t i, int64_t n) { sums += cpu::exp_vec(cpu::load_n(logits + i, n, kLowest) - top); });
      const A lse = top + std::log(cpu::sum_lanes<A>(sums));
      const A target_logit = logits[target];  // read before dlogits, which may be the same memory
      args.loss[r] = lse - target_logit;
      if (dlogits == nullptr) continue;
      const A weight = static_cast<A>(args.state->inv_loss_tokens);
      cpu::for_vectors<A>(args.vocab, [&](int64_t i, int64_t n) {
        cpu::store_n(dlogits + i, cpu::exp_vec(cpu::load_n(logits + i, n, kLowest) - lse) * weight, n);
      });
      dlogits[target] = static_cast<T>((std::exp(target_logit - lse) - A(1)) * weight);
      std::fill(dlogits + args.vocab, dlogits + args.ld, T(A(0)));
    }
  });
}

template <class A>
void sum_loss(Cpu, const SumLoss<A>& args) {
  double sum = 0;
  for (int64_t r = 0; r < args.rows; ++r) sum += static_cast<double>(args.loss[r]);
  args.total[0] += args.state == nullptr ? sum : sum * args.state->inv_loss_tokens;
}

template void cross_entropy(Cpu, const CrossEntropy<float>&);
template void cross_entropy(Cpu, const CrossEntropy<bf16>&);
template void cross_entropy(Cpu, const CrossEntropy<double>&);
template void sum_loss(Cpu, const SumLoss<float>&);
template void sum_loss(Cpu, const SumLoss<double>&);

}  // namespace sy::kernels
