// Comparison of a result with an f64 reference at a few hundred of its elements, which makes it affordable at any size.
#pragma once

#include <functional>

#include "csrc/core/context.h"

namespace sy::bench {

struct SampledCheck {
  Tensor output;
  std::function<double(int64_t)> expected;  // of an element of the flattened output
  double tolerance = 0;                     // relative to the largest expected element; 0: equal
};

// One rounding to `stored`, and sums of up to some ten thousand terms in f32 or f64.
double tolerance_of(DType stored);

struct CheckResult {
  double max_error = 0, norm_error = 0;  // as in Row
  bool passed = true;
};
// The first and the last element, and elements spread over all between.
CheckResult check_samples(Context& ctx, const SampledCheck& check, int64_t samples = 256);

}  // namespace sy::bench
