#include "benchmarks/harness/sampled_check.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"

namespace sy::bench {

double tolerance_of(DType stored) {
  switch (stored) {
    case DType::bf16:
      return 8e-3;
    case DType::f32:
      return 2e-5;
    case DType::f64:
      return 1e-12;
    default:
      return 0;
  }
}

CheckResult check_samples(Context& ctx, const SampledCheck& check, int64_t samples) {
  const Tensor flat = check.output.reshape({check.output.count()});
  const Philox stream = Philox::keyed(3, 0, 0, 0, RngPurpose::kTest);
  double largest = 0, largest_difference = 0, squares = 0, difference_squares = 0;
  bool finite = true;
  for (int64_t s = 0; s < std::min(samples, flat.count()); ++s) {
    const double u = stream.uniform(static_cast<uint64_t>(s));
    const int64_t i = s == 0   ? 0
                      : s == 1 ? flat.count() - 1
                               : static_cast<int64_t>(u * static_cast<double>(flat.count()));
    const double actual = dispatch_any(
        flat.dtype(), [&]<class T>() { return static_cast<double>(ctx.to_host<T>(flat.slice(i, i + 1))[0]); });
    const double expected = check.expected(i), difference = std::abs(actual - expected);
    finite = finite && std::isfinite(actual);
    largest = std::max(largest, std::abs(expected));
    largest_difference = std::max(largest_difference, difference);
    squares += expected * expected;
    difference_squares += difference * difference;
  }
  CheckResult result;
  result.max_error = largest > 0 ? largest_difference / largest : largest_difference;
  result.norm_error = squares > 0 ? std::sqrt(difference_squares / squares) : std::sqrt(difference_squares);
  result.passed = finite && result.max_error <= check.tolerance && result.norm_error <= check.tolerance;
  return result;
}

}  // namespace sy::bench
