// DARE before TIES (Yu et al. 2024, arXiv 2311.03099, on Yadav et al. 2023, arXiv 2306.01708): differences dropped at
// random and rescaled, then merged where their signs agree.
//
//   m ~ Bernoulli(1 - drop_rate);   tau_i = m (theta_i - theta_0) / (1 - drop_rate);   s = sign(sum_i tau_i)
//   theta = theta_0 + lambda (sum, or mean, of the tau_i that have sign s)
// The dropping stands in for TIES' trimming. Differs from the papers: where the sum is 0 the sign is that of most
// elements of the tensor, not of the model.
#include "csrc/core/registry.h"
#include "csrc/merging/deltas.h"

namespace sy::merging {
namespace {

class DareTies final : public Merging {
 public:
  struct Config {
    double drop_rate = 0.5;
    double lambda = 0.3;
    Disjoint merge = Disjoint::kSum;
  };

  DareTies(const Config& config, const MergeBuild& build) : config_(config), seed_(build.seed) {}

  bool needs_base() const override { return true; }
  std::vector<double> merge(const MergeSet& set) const override {
    Vectors tau = deltas(set);
    drop_and_rescale(tau, config_.drop_rate, set.name, seed_);
    return linear({disjoint_merge(tau, elected_signs(tau), config_.merge)}, {config_.lambda}, set.base_n);
  }

 private:
  Config config_;
  uint64_t seed_;
};

void describe(DareTies::Config& c, Fields& f) {
  f.field("drop_rate", c.drop_rate, "share of each input's differences that are dropped", {.min = 0, .max = 0.9999});
  f.field("lambda", c.lambda, "what the merged difference is multiplied by");
  f.field("merge", c.merge, {{"sum", Disjoint::kSum}, {"mean", Disjoint::kMean}},
          "how differences of one sign combine");
}

SY_REGISTER(Merging, DareTies, "dare_ties", "differences dropped at random, merged where their signs agree")

}  // namespace
}  // namespace sy::merging
