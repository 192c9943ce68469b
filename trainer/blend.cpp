#include "trainer/blend.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "csrc/core/check.h"

namespace sy {

BlendSchedule::BlendSchedule(std::vector<double> weights) : weights_(std::move(weights)), counts_(weights_.size(), 0) {
  SY_CHECK(!weights_.empty(), "a blend of no corpora");
  const double sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  for (double& weight : weights_) {
    SY_CHECK(weight > 0, "blend weight {}", weight);
    weight /= sum;
  }
}

int64_t BlendSchedule::choose(int64_t global_index, const int64_t* counts) const {
  const double so_far = std::max(static_cast<double>(global_index), 1.0);
  std::size_t best = 0;
  double best_deficit = -std::numeric_limits<double>::infinity();
  for (std::size_t d = 0; d < weights_.size(); ++d) {
    const double deficit = weights_[d] * so_far - static_cast<double>(counts[d]);
    if (deficit > best_deficit) best_deficit = deficit, best = d;
  }
  return static_cast<int64_t>(best);
}

BlendSchedule::Place BlendSchedule::locate(int64_t global_index) const {
  SY_CHECK(global_index >= 0, "sample {}", global_index);
  const std::size_t num_corpora = weights_.size();
  if (num_corpora == 1) return {0, global_index};
  const int64_t state = global_index / kStride;
  std::vector<int64_t> counts(num_corpora);
  {
    const std::lock_guard lock(mutex_);
    int64_t stored = static_cast<int64_t>(counts_.size() / num_corpora) - 1;
    if (stored < state) {
      std::copy(counts_.end() - static_cast<std::ptrdiff_t>(num_corpora), counts_.end(), counts.begin());
      for (; stored < state; ++stored) {
        for (int64_t n = stored * kStride; n < (stored + 1) * kStride; ++n) {
          ++counts[static_cast<std::size_t>(choose(n, counts.data()))];
        }
        counts_.insert(counts_.end(), counts.begin(), counts.end());
      }
    }
    const auto* from = counts_.data() + static_cast<std::size_t>(state) * num_corpora;
    std::copy(from, from + num_corpora, counts.begin());
  }
  for (int64_t n = state * kStride; n < global_index; ++n) ++counts[static_cast<std::size_t>(choose(n, counts.data()))];
  const int64_t domain = choose(global_index, counts.data());
  return {domain, counts[static_cast<std::size_t>(domain)]};
}

}  // namespace sy
