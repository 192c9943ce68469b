// Weight averaging (model soups, Wortsman et al. 2022, arXiv 2203.05482):  theta = sum_i w_i theta_i / sum_i w_i.
//
// w_i equal unless `weights` are given, one per input. Differs from the paper: nothing; its greedy choice of inputs is
// left to the list of inputs.
#include <numeric>

#include "csrc/core/registry.h"
#include "csrc/merging/deltas.h"

namespace sy::merging {
namespace {

class Average final : public Merging {
 public:
  struct Config {
    std::vector<double> weights = {};
  };

  Average(const Config& config, const MergeBuild& build) : share_(config.weights) {
    if (share_.empty()) share_.assign(static_cast<size_t>(build.num_inputs), 1.0);
    if (std::ssize(share_) != build.num_inputs)
      user_error("{}.weights: {} weights for {} inputs; give one per input", build.key, share_.size(),
                 build.num_inputs);
    const double total = std::accumulate(share_.begin(), share_.end(), 0.0);
    if (total == 0) user_error("{}.weights: they sum to 0", build.key);
    for (double& w : share_) w /= total;
  }

  bool needs_base() const override { return false; }
  std::vector<double> merge(const MergeSet& set) const override { return linear(set.inputs, share_); }

 private:
  std::vector<double> share_;
};

void describe(Average::Config& c, Fields& f) {
  f.field("weights", c.weights, "weight of each input, divided by their sum; empty: all equal", {.min = 0});
}

SY_REGISTER(Merging, Average, "average", "mean of the inputs, weighted or not")

}  // namespace
}  // namespace sy::merging
