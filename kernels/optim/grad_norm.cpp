// CPU body of the gradient norm: blocks of 4096 elements in parallel, their sums added in order.
#include "kernels/optim/grad_norm.h"

#include <algorithm>
#include <cmath>

namespace sy::kernels {

template <class A>
void sum_squares(Cpu, const SumSquares<A>& args) {
  constexpr int64_t kBlock = 4096;
  const int64_t blocks = (args.count + kBlock - 1) / kBlock;
  // Squares in f64: the square of a large f32 gradient would overflow and pass for an infinity.
#pragma omp parallel for schedule(static) if (blocks >= 8)  // below, waking the threads costs more
  for (int64_t b = 0; b < blocks; ++b) {
    const A* x = args.x + b * kBlock;
    const int64_t count = std::min(args.count - b * kBlock, kBlock);
    // Independent chains, which g++ vectorises; its own reduction of converted values is four times slower.
    constexpr int64_t kChains = 16;
    double chain[kChains] = {};
    int64_t i = 0;
    for (; i + kChains <= count; i += kChains)
      for (int64_t c = 0; c < kChains; ++c) chain[c] += static_cast<double>(x[i + c]) * static_cast<double>(x[i + c]);
    for (; i < count; ++i) chain[i % kChains] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    double sum = 0;
    for (const double part : chain) sum += part;
    args.partials[b] = sum;
  }
  double sum = 0;
  for (int64_t b = 0; b < blocks; ++b) sum += args.partials[b];
  *args.total += args.weight * sum;
}

void clip_coefficient(Cpu, const ClipCoefficient& args) {
  const double total = *args.total;
  StepState& state = *args.state;
  state.grad_norm_squared = total;
  state.skip = std::isfinite(total) && std::isfinite(*args.loss) ? 0 : 1;
  const double ratio = args.max_norm > 0 ? args.max_norm / (std::sqrt(total) + 1e-6) : 1.0;
  state.clip_coefficient = ratio < 1.0 ? ratio : 1.0;  // written so that NaN gives 1
}

template void sum_squares<float>(Cpu, const SumSquares<float>&);
template void sum_squares<double>(Cpu, const SumSquares<double>&);

}  // namespace sy::kernels
