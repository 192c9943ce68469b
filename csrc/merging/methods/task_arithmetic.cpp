// Task arithmetic (Ilharco et al. 2023, arXiv 2212.04089):  theta = theta_0 + lambda sum_i (theta_i - theta_0).
//
// theta_0 the base that the inputs were fine-tuned from. Differs from the paper: nothing.
#include "csrc/core/registry.h"
#include "csrc/merging/deltas.h"

namespace sy::merging {
namespace {

class TaskArithmetic final : public Merging {
 public:
  struct Config {
    double lambda = 0.3;
  };

  TaskArithmetic(const Config& config, const MergeBuild&) : config_(config) {}

  bool needs_base() const override { return true; }
  std::vector<double> merge(const MergeSet& set) const override {
    return linear(deltas(set), std::vector<double>(set.inputs.size(), config_.lambda), set.base_n);
  }

 private:
  Config config_;
};

void describe(TaskArithmetic::Config& c, Fields& f) {
  f.field("lambda", c.lambda, "what the sum of the inputs' differences from the base is multiplied by");
}

SY_REGISTER(Merging, TaskArithmetic, "task_arithmetic", "the base plus the inputs' differences from it")

}  // namespace
}  // namespace sy::merging
