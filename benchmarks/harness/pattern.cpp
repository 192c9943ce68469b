#include "benchmarks/harness/pattern.h"

#include <algorithm>

#include "kernels/philox.h"

namespace sy::bench {

namespace {

constexpr int64_t kPeriod = 1000003;

const std::vector<float>& normals() {
  static const std::vector<float> values = [] {
    std::vector<float> v(kPeriod);
    const Philox stream = Philox::keyed(1, 0, 0, 0, RngPurpose::kTest);
#pragma omp parallel for
    for (int64_t i = 0; i < kPeriod; ++i)
      v[static_cast<std::size_t>(i)] = static_cast<float>(stream.normal(static_cast<uint64_t>(i)));
    return v;
  }();
  return values;
}

}  // namespace

Pattern::Pattern(uint64_t seed, double scale)
    : offset_(static_cast<int64_t>(Philox::mix(seed) % static_cast<uint64_t>(kPeriod))), scale_(scale) {}

double Pattern::operator()(int64_t i) const {
  const float z = normals()[static_cast<std::size_t>((i + offset_) % kPeriod)];
  return static_cast<double>(static_cast<float>(bf16(static_cast<float>(scale_) * z)));
}

Tensor Pattern::tensor(Context& ctx, Shape shape, DType dtype) const {
  const Tensor whole = ctx.empty(std::move(shape), dtype, MemoryKind::data), flat = whole.reshape({whole.count()});
  dispatch_float(dtype, [&]<class T>() {
    std::vector<T> period(static_cast<std::size_t>(std::min(kPeriod, whole.count())));
    for (std::size_t i = 0; i < period.size(); ++i)
      period[i] = T(static_cast<Acc<T>>((*this)(static_cast<int64_t>(i))));
    for (int64_t begin = 0; begin < whole.count(); begin += kPeriod)
      ctx.copy_from_host(flat.slice(begin, std::min(begin + kPeriod, whole.count())), period.data());
  });
  return whole;
}

}  // namespace sy::bench
