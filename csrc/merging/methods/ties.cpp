// TIES merging (Yadav et al. 2023, arXiv 2306.01708): trim, elect signs, disjoint merge.
//
//   tau_i = theta_i - theta_0, of which the kept_share of largest magnitude stay, the others become 0
//   s = sign(sum_i tau_i), the majority's sign where the sum is 0;   m = mean (or sum) of the tau_i that have sign s
//   theta = theta_0 + lambda m
// Magnitudes are compared, and the majority counted, over the whole model (scope: model) or within each tensor. Differs
// from the paper: nothing.
#include "csrc/core/registry.h"
#include "csrc/merging/deltas.h"

namespace sy::merging {
namespace {

class Ties final : public Merging {
 public:
  enum class Scope { kModel, kTensor };
  struct Config {
    double kept_share = 0.2;
    double lambda = 1;
    Disjoint merge = Disjoint::kMean;
    Scope scope = Scope::kModel;
  };

  Ties(const Config& config, const MergeBuild&) : config_(config) {}

  bool needs_base() const override { return true; }
  bool needs_whole_model() const override { return config_.scope == Scope::kModel; }
  std::vector<double> merge(const MergeSet& set) const override {
    Vectors tau = deltas(set);
    for (std::vector<double>& delta_n : tau) trim(delta_n, config_.kept_share);
    return linear({disjoint_merge(tau, elected_signs(tau), config_.merge)}, {config_.lambda}, set.base_n);
  }

 private:
  Config config_;
};

void describe(Ties::Config& c, Fields& f) {
  f.field("kept_share", c.kept_share, "share of each input's differences that are kept", {.min = 0, .max = 1});
  f.field("lambda", c.lambda, "what the merged difference is multiplied by");
  f.field("merge", c.merge, {{"mean", Disjoint::kMean}, {"sum", Disjoint::kSum}},
          "how differences of one sign combine");
  f.field("scope", c.scope, {{"model", Ties::Scope::kModel}, {"tensor", Ties::Scope::kTensor}},
          "what magnitudes are compared over; model needs memory for every input at once");
}

SY_REGISTER(Merging, Ties, "ties", "trimmed differences, merged where their signs agree")

}  // namespace
}  // namespace sy::merging
