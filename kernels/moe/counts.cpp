#include "kernels/moe/counts.h"

namespace sy::kernels {

void accumulate_counts(Cpu, const AccumulateCounts& a) {
  for (int64_t e = 0; e < a.experts; ++e) a.total[e] += a.count[e];
}

template <class A>
void count_fraction(Cpu, const CountFraction<A>& a) {
  int64_t sum = 0;
  for (int64_t e = 0; e < a.experts; ++e) sum += a.count[e];
  for (int64_t e = 0; e < a.experts; ++e)
    a.fraction[e] = sum == 0 ? A(0) : static_cast<A>(static_cast<double>(a.count[e]) / static_cast<double>(sum));
}

template <class A>
void bias_update(Cpu, const BiasUpdate<A>& a) {
  if (a.state->skip != 0) return;
  int64_t sum = 0;
  for (int64_t e = 0; e < a.experts; ++e) sum += a.count[e];
  // sign(mean - count) in integers: exact for any count.
  const auto sign = [&](int64_t e) {
    const int64_t difference = sum - a.count[e] * a.experts;
    return difference > 0 ? 1 : difference < 0 ? -1 : 0;
  };
  int64_t total_sign = 0;
  for (int64_t e = 0; e < a.experts; ++e) total_sign += sign(e);
  const double mean = a.center ? a.rate * static_cast<double>(total_sign) / static_cast<double>(a.experts) : 0.0;
  for (int64_t e = 0; e < a.experts; ++e)
    a.bias[e] = static_cast<A>(static_cast<double>(a.bias[e]) + a.rate * sign(e) - mean);
}

template void count_fraction(Cpu, const CountFraction<float>&);
template void count_fraction(Cpu, const CountFraction<double>&);
template void bias_update(Cpu, const BiasUpdate<float>&);
template void bias_update(Cpu, const BiasUpdate<double>&);

}  // namespace sy::kernels
