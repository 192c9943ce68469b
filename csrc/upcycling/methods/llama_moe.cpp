// LLaMA-MoE (Zhu et al. 2024, arXiv 2406.16554): the neurons of the dense block divided among E experts, no growth.
//
//   random:     a random partition into E sets of F / E neurons
//   clustered:  balanced k-means on the rows of W_gate, each of length 1, squared Euclidean distance
//   W_down of every expert times  E / K (scale: paper)  or  E / (w K) (scale: exact);   R ~ N(0, router_std^2)
// w the weight of a selected expert at equal logits. With K = E and equal weights `exact` is the dense block. Differs
// from the paper: its factor is an option of the model, here it is in W_down; its router starts at zero and is told
// apart by gate noise in training, ours starts random; splits by salience need gradients and are not here.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

using Partition = std::vector<std::vector<int64_t>>;

// Rows [F, D] of length 1, so that distances compare directions.
std::vector<double> unit_rows(const std::vector<double>& rows_FD, int64_t columns) {
  std::vector<double> unit = rows_FD;
  for (auto row = unit.begin(); row != unit.end(); row += columns) {
    const double norm = std::sqrt(std::inner_product(row, row + columns, row, 0.0));
    if (norm > 0) std::transform(row, row + columns, row, [&](double w) { return w / norm; });
  }
  return unit;
}

// k-means with clusters of exactly F / E rows: pairs of row and centre are taken by rising distance while the centre
// has room. Centres start at randomly chosen rows.
Partition balanced_kmeans(const std::vector<double>& rows_FD, int64_t columns, int64_t clusters, int64_t iterations,
                          const Stream& stream) {
  const int64_t rows = std::ssize(rows_FD) / columns, room = rows / clusters;
  std::vector<double> centre_ED;
  for (const int64_t i : stream.choose(clusters, rows))
    centre_ED.insert(centre_ED.end(), rows_FD.begin() + i * columns, rows_FD.begin() + (i + 1) * columns);
  Partition members;
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    struct Pair {
      double distance;
      int64_t row, cluster;
    };
    std::vector<Pair> pairs;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < clusters; ++c)
        pairs.push_back({std::transform_reduce(rows_FD.begin() + i * columns, rows_FD.begin() + (i + 1) * columns,
                                               centre_ED.begin() + c * columns, 0.0, std::plus<>(),
                                               [](double a, double b) { return (a - b) * (a - b); }),
                         i, c});
    std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.distance < b.distance; });
    Partition next(static_cast<size_t>(clusters));
    std::vector<bool> placed(static_cast<size_t>(rows), false);
    for (const Pair& p : pairs) {
      auto& cluster = next[static_cast<size_t>(p.cluster)];
      if (placed[static_cast<size_t>(p.row)] || std::ssize(cluster) == room) continue;
      placed[static_cast<size_t>(p.row)] = true;
      cluster.push_back(p.row);
    }
    for (auto& cluster : next) std::sort(cluster.begin(), cluster.end());
    if (next == members) break;
    members = std::move(next);
    std::fill(centre_ED.begin(), centre_ED.end(), 0.0);
    for (int64_t c = 0; c < clusters; ++c)
      for (const int64_t i : members[static_cast<size_t>(c)])
        for (int64_t j = 0; j < columns; ++j)
          centre_ED[static_cast<size_t>(c * columns + j)] +=
              rows_FD[static_cast<size_t>(i * columns + j)] / static_cast<double>(room);
  }
  return members;
}

class LlamaMoe final : public Upcycling {
 public:
  enum class Split { kRandom, kClustered };
  enum class Scale { kPaper, kExact };
  struct Config {
    Split split = Split::kRandom;
    int64_t kmeans_iterations = 100;
    Scale scale = Scale::kPaper;
    double router_std = 0.02;
  };

  LlamaMoe(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "llama_moe", 1);
    require_no_shared(plan, "llama_moe");
    if (plan.dense_width % plan.num_experts != 0)
      user_error(
          "moe.num_experts: llama_moe divides the {} neurons of a dense block equally, and {} does not divide it",
          plan.dense_width, plan.num_experts);
    require_expert_width(plan, "llama_moe", plan.dense_width / plan.num_experts, "an equal share of a dense block");
  }

  MoeWeights convert(const std::vector<Ffn>& inputs) const override {
    const double per_token = static_cast<double>(plan_.num_experts) / static_cast<double>(plan_.num_experts_per_tok);
    const double factor = config_.scale == Scale::kPaper ? per_token : per_token / plan_.weight_at_equal_logits;
    MoeWeights made;
    for (const std::vector<int64_t>& index : partition(inputs[0])) {
      Ffn& expert = made.experts.emplace_back(neurons(inputs[0], index));
      scale(expert, kDown, factor);
    }
    made.router_ED = normal_rows(plan_.num_experts, plan_.hidden_size, config_.router_std, plan_.stream("router"));
    return made;
  }

 private:
  Partition partition(const Ffn& dense) const {
    const Stream stream = plan_.stream("split");
    if (config_.split == Split::kClustered)
      return balanced_kmeans(unit_rows(dense.weight_FD[kGate], dense.hidden_size), dense.hidden_size, plan_.num_experts,
                             config_.kmeans_iterations, stream);
    const std::vector<int64_t> order = stream.permutation(plan_.dense_width);
    Partition parts;
    for (int64_t e = 0; e < plan_.num_experts; ++e)
      parts.emplace_back(order.begin() + e * plan_.expert_width, order.begin() + (e + 1) * plan_.expert_width);
    return parts;
  }

  Config config_;
  LayerPlan plan_;
};

void describe(LlamaMoe::Config& c, Fields& f) {
  using Split = LlamaMoe::Split;
  using Scale = LlamaMoe::Scale;
  f.field("split", c.split, {{"random", Split::kRandom}, {"clustered", Split::kClustered}},
          "how neurons are divided: at random, or by balanced k-means on the rows of W_gate");
  f.field("kmeans_iterations", c.kmeans_iterations, "at most this many rounds of k-means",
          {.min = 1, .active = c.split == Split::kClustered, .active_when = "split is clustered"});
  f.field("scale", c.scale, {{"paper", Scale::kPaper}, {"exact", Scale::kExact}},
          "experts' outputs times E / K, or times what makes K = E the dense block");
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, LlamaMoe, "llama_moe", "the dense block's neurons divided among the experts")

}  // namespace
}  // namespace sy::upcycling
