// MoEfication (Zhang et al. 2021, arXiv 2110.01786): neurons that fire together become an expert, and a router learns
// which experts a token will make fire. The block's weights stay.
//
//   clustered:      balanced k-means on the rows of W_gate, each of length 1, squared Euclidean distance
//   coactivation:   parts of equal size of the graph whose edge (i, j) counts the sample tokens on which
//                   both neurons are among the active_share of largest |h|
//   s_e(x) = sum over neurons i of expert e of |h_i(x)|;   R: binary cross-entropy of R x with s / max s on the
//   samples, from the mean unit row of W_gate of each expert;   W_down times 1 / w
// h = silu(W_gate x) * (W_up x), w the weight of a selected expert at equal logits: the K experts are summed
// unweighted, and K = E is the dense block. Differs from the paper: SwiGLU blocks instead of ReLU ones, so |h| scores
// instead of ReLU; the router is one matrix, as those of models here are, and not a layer of tanh with one above it;
// its logits are scaled down to `logit_deviation`, so that selected experts start with nearly equal weights and the
// router can go on learning, where the paper's weights are 1; the graph is divided by exchanging pairs, not by METIS.
#include <algorithm>
#include <cmath>

#include "csrc/upcycling/partition.h"
#include "csrc/upcycling/router_fit.h"
#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

class Moefication final : public Upcycling {
 public:
  enum class Split { kClustered, kCoactivation };
  struct Config {
    Split split = Split::kClustered;
    int64_t iterations = 100;
    double active_share = 0.2;
    RouterFit fit;
  };

  Moefication(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "moefication", 1);
    require_no_shared(plan, "moefication");
    require_equal_shares(plan, "moefication");
  }

  SampleNeed needs() const override { return SampleNeed::kInputs; }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples& samples) const override {
    const Ffn& dense = inputs[0];
    const std::vector<float> x_TD = all_inputs(samples);
    const std::vector<double> unit_FD = unit_rows(dense.weight_FD[kGate], dense.hidden_size);
    MoeWeights made;
    made.router_ED.assign(static_cast<size_t>(plan_.num_experts * plan_.hidden_size), 0.0);
    double* centre = made.router_ED.data();
    for (const std::vector<int64_t>& index : partition(dense, unit_FD, x_TD)) {
      made.experts.push_back(neurons(dense, index));
      for (const int64_t i : index)
        for (int64_t j = 0; j < plan_.hidden_size; ++j)
          centre[j] += unit_FD[static_cast<size_t>(i * plan_.hidden_size + j)] / static_cast<double>(index.size());
      centre += plan_.hidden_size;
    }
    made.router_ED = fitted(std::move(made.router_ED), made.experts, x_TD);
    for (Ffn& expert : made.experts) scale(expert, kDown, 1 / plan_.weight_at_equal_logits);
    return made;
  }

 private:
  Partition partition(const Ffn& dense, const std::vector<double>& unit_FD, const std::vector<float>& x_TD) const {
    const Stream stream = plan_.stream("split");
    if (config_.split == Split::kClustered)
      return balanced_kmeans(unit_FD, dense.hidden_size, plan_.num_experts, config_.iterations, stream);
    const auto active =
        std::max<int64_t>(1, static_cast<int64_t>(config_.active_share * static_cast<double>(plan_.dense_width)));
    return heavy_parts(coactivation(dense, x_TD, active), plan_.dense_width, plan_.num_experts, config_.iterations,
                       stream);
  }

  std::vector<double> fitted(std::vector<double> rows_ED, const std::vector<Ffn>& experts,
                             const std::vector<float>& x_TD) const {
    const auto count = experts.size();
    const size_t tokens = x_TD.size() / static_cast<size_t>(plan_.hidden_size);
    std::vector<double> target_TE(tokens * count, 0.0);
    for (size_t e = 0; e < count; ++e) {
      const std::vector<double> h_TF = activations(experts[e], x_TD);
      const size_t width = h_TF.size() / tokens;
      for (size_t i = 0; i < h_TF.size(); ++i) target_TE[i / width * count + e] += std::fabs(h_TF[i]);
    }
    const double largest = *std::max_element(target_TE.begin(), target_TE.end());
    if (largest > 0)
      for (double& s : target_TE) s /= largest;
    return fit_router(std::move(rows_ED), x_TD, target_TE, plan_.hidden_size, config_.fit, binary_cross_entropy,
                      plan_.stream("router order"));
  }

  Config config_;
  LayerPlan plan_;
};

void describe(Moefication::Config& c, Fields& f) {
  using Split = Moefication::Split;
  f.field("split", c.split, {{"clustered", Split::kClustered}, {"coactivation", Split::kCoactivation}},
          "how neurons are divided: k-means on the rows of W_gate, or by how often they fire together on the samples");
  f.field("iterations", c.iterations, "at most this many rounds of k-means, or passes of exchanges", {.min = 1});
  f.field("active_share", c.active_share, "share of the neurons that fire at a token: those of largest magnitude",
          {.min = 0, .max = 1, .active = c.split == Split::kCoactivation, .active_when = "split is coactivation"});
  describe(c.fit, f);
}

SY_REGISTER(Upcycling, Moefication, "moefication", "neurons that fire together, and a router fitted to predict them")

}  // namespace
}  // namespace sy::upcycling
