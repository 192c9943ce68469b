#include "csrc/autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

namespace sy {

GradcheckResult gradcheck(const std::vector<GradcheckInput>& inputs, const std::function<double()>& loss, double epsilon,
                          int64_t samples) {
  GradcheckResult result;
  for (const GradcheckInput& input : inputs) {
    const int64_t count = input.value.count();
    if (count == 0) continue;
    auto* x = input.value.data<double>();
    const auto* g = input.gradient.data<double>();
    double scale = 1e-12;
    for (int64_t i = 0; i < count; ++i) scale = std::max(scale, std::abs(g[i]));
    const int64_t checked = std::min(count, samples);
    for (int64_t k = 0; k < checked; ++k) {
      const int64_t i = k * count / checked;
      const double saved = x[i], step = epsilon * std::max(1.0, std::abs(saved));
      x[i] = saved + step;
      const double up = loss();
      x[i] = saved - step;
      const double down = loss();
      x[i] = saved;
      const double numeric = (up - down) / (2 * step);
      const double error = std::abs(numeric - g[i]) / scale;
      if (error > result.worst_relative_error || std::isnan(error)) {
        result.worst_relative_error = error;
        result.worst = fmt::format("{}[{}]: analytic {}, numeric {}", input.name, i, g[i], numeric);
      }
    }
  }
  return result;
}

}  // namespace sy
