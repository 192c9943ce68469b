#include "trainer/schedule.h"

#include <cmath>
#include <numbers>

namespace sy {

namespace {

double half_cosine(double ratio) { return 0.5 * (1 + std::cos(std::numbers::pi * ratio)); }

double wsd_coefficient(WsdDecayStyle style, double ratio) {
  switch (style) {
    case WsdDecayStyle::kLinear:
      return 1 - ratio;
    case WsdDecayStyle::kCosine:
      return half_cosine(ratio);
    case WsdDecayStyle::kExponential:
      return 2 * std::pow(0.5, ratio) - 1;
    case WsdDecayStyle::kMinusSqrt:
      return 1 - std::sqrt(ratio);
  }
  return 0;
}

}  // namespace

double learning_rate(const Schedule& schedule, int64_t step) {
  const int64_t s = step + 1;
  if (s <= schedule.warmup_iters) {
    return schedule.lr * static_cast<double>(s) / static_cast<double>(schedule.warmup_iters);
  }
  if (schedule.style == LrDecayStyle::kConstant) return schedule.lr;
  if (s >= schedule.decay_iters) return schedule.min_lr;
  double coefficient = 1;
  if (schedule.style == LrDecayStyle::kWsd) {
    const int64_t anneal_start = schedule.decay_iters - schedule.wsd_decay_iters;
    if (s > anneal_start) {
      coefficient = wsd_coefficient(
          schedule.wsd_style, static_cast<double>(s - anneal_start) / static_cast<double>(schedule.wsd_decay_iters));
    }
  } else {
    const double ratio = static_cast<double>(s - schedule.warmup_iters) /
                         static_cast<double>(schedule.decay_iters - schedule.warmup_iters);
    coefficient = schedule.style == LrDecayStyle::kLinear ? 1 - ratio : half_cosine(ratio);
  }
  return schedule.min_lr + coefficient * (schedule.lr - schedule.min_lr);
}

}  // namespace sy
