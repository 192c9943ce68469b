// DARE (Yu et al. 2024, arXiv 2311.03099): differences dropped at random and rescaled, then task arithmetic.
//
//   m ~ Bernoulli(1 - drop_rate);   tau_i = m (theta_i - theta_0) / (1 - drop_rate)
//   theta = theta_0 + lambda sum_i tau_i
// Differs from the paper: nothing; TIES after the dropping is dare_ties.
#include "csrc/core/registry.h"
#include "csrc/merging/deltas.h"

namespace sy::merging {
namespace {

class Dare final : public Merging {
 public:
  struct Config {
    double drop_rate = 0.9;
    double lambda = 0.3;
  };

  Dare(const Config& config, const MergeBuild& build) : config_(config), seed_(build.seed) {}

  bool needs_base() const override { return true; }
  std::vector<double> merge(const MergeSet& set) const override {
    Vectors tau = deltas(set);
    drop_and_rescale(tau, config_.drop_rate, set.name, seed_);
    return linear(tau, std::vector<double>(tau.size(), config_.lambda), set.base_n);
  }

 private:
  Config config_;
  uint64_t seed_;
};

void describe(Dare::Config& c, Fields& f) {
  f.field("drop_rate", c.drop_rate, "share of each input's differences that are dropped", {.min = 0, .max = 0.9999});
  f.field("lambda", c.lambda, "what the sum of the rescaled differences is multiplied by");
}

SY_REGISTER(Merging, Dare, "dare", "differences dropped at random and rescaled, then added to the base")

}  // namespace
}  // namespace sy::merging
