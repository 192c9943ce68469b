// Gradient check by central differences in f64.
//
// `loss(ctx)` runs the computation on the inputs and returns the scalar  sum(output * upstream)  or a loss; `backward` has
// left analytic gradients. For sampled elements e of each tensor:  numeric = (loss(e + eps) - loss(e - eps)) / (2 eps).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "csrc/core/context.h"

namespace sy {

struct GradcheckInput {
  std::string name;
  Tensor value;     // f64, edited in place and restored
  Tensor gradient;  // f64, the analytic gradient
};

struct GradcheckResult {
  double worst_relative_error = 0;  // |analytic - numeric| / max(scale of this tensor's gradient, 1e-12)
  std::string worst;                // "name[index]: analytic a, numeric n"
};

// Checks up to `samples` elements of every input, evenly spread (all when there are fewer).
GradcheckResult gradcheck(const std::vector<GradcheckInput>& inputs, const std::function<double()>& loss,
                          double epsilon = 1e-6, int64_t samples = 64);

}  // namespace sy
