// Branch-Train-Merge (Li et al. 2022, arXiv 2208.03306): models of different domains, averaged by how well each
// explains text of the domain that the result is for.
//
//   posterior_i(e) ~ product over the tokens of sample sequence i of p_e(x_t | x_<t)
//   w = sum_i decay^i posterior_i, i counted from the last sequence, over its sum;   theta = sum_e w_e theta_e
// The loss of the inputs as an ensemble, p(x_t) = sum_e posterior_t(e) p_e(x_t), with w as prior and the posterior over
// the tokens before t, is reported beside: it is the paper's better result, at the cost of running every model. Differs
// from the paper: nothing for the average; the ensemble is scored, not made a model.
#include "csrc/core/registry.h"
#include "csrc/merging/deltas.h"
#include "csrc/merging/posterior.h"

namespace sy::merging {
namespace {

class BranchTrainMerge final : public Merging {
 public:
  struct Config {
    double decay = 0.3;
  };

  BranchTrainMerge(const Config& config, const MergeBuild& build) {
    const std::vector<SequenceEvidence> sequences = build.evidence();
    weights_ = cached_prior(sequences, config.decay);
    double log_probability = 0;
    for (const SequenceEvidence& sequence : sequences) {
      log_probability += mix(sequence, weights_).log_probability;
      tokens_ += std::ssize(sequence.front());
    }
    ensemble_loss_ = -log_probability / static_cast<double>(tokens_);
  }

  bool needs_base() const override { return false; }
  std::vector<double> merge(const MergeSet& set) const override { return linear(set.inputs, weights_); }
  std::string remark() const override {
    return fmt::format("weights {:.4f}; as an ensemble the inputs have loss {:.6f} on the {} sample tokens",
                       fmt::join(weights_, ", "), ensemble_loss_, tokens_);
  }

 private:
  std::vector<double> weights_;
  double ensemble_loss_ = 0;
  int64_t tokens_ = 0;
};

void describe(BranchTrainMerge::Config& c, Fields& f) {
  f.field("decay", c.decay, "how much less a sample sequence counts than the one after it; 1: all count the same",
          {.min = 0, .max = 1});
}

SY_REGISTER(Merging, BranchTrainMerge, "branch_train_merge", "mean weighted by how well each input explains a text")

}  // namespace
}  // namespace sy::merging
