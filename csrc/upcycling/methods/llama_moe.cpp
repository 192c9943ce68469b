// LLaMA-MoE (Zhu et al. 2024, arXiv 2406.16554): the neurons of the dense block divided among E experts, no growth.
//
//   random:         a random partition into E sets of F / E neurons
//   clustered:      balanced k-means on the rows of W_gate, each of length 1, squared Euclidean distance
//   s_ei = mean over the tokens of sample text e of |h_i dloss/dh_i|, E texts:
//   gradient:       pairs (e, i) are taken by falling s_ei while the expert has room and the neuron is free
//   sharing_inner:  expert e = the F_e neurons with the largest s_ei; several experts may hold one
//   sharing_inter:  the F_s neurons that most experts of sharing_inner hold (then of larger sum of s_ei) are the shared
//                   expert; the others are divided as by gradient
//   W_down of every routed expert times  E / K (scale: paper)  or  E / (w K) (scale: exact);   R ~ N(0, router_std^2)
// F neurons, F_e of an expert, F_s shared; w the weight of a selected expert at equal logits. With K = E and equal
// weights `exact` is the dense block, but for sharing_inner. Differs from the paper: its factor is an option of the
// model, here it is in W_down; its router starts at zero and is told apart by gate noise in training, ours starts
// random; its texts are clusters of one corpus, here they are the sample texts.
#include <algorithm>

#include "csrc/upcycling/partition.h"
#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {
namespace {

enum class Split { kRandom, kClustered, kGradient, kSharingInner, kSharingInter };

bool reads_salience(Split split) { return split != Split::kRandom && split != Split::kClustered; }

class LlamaMoe final : public Upcycling {
 public:
  enum class Scale { kPaper, kExact };
  struct Config {
    Split split = Split::kRandom;
    int64_t kmeans_iterations = 100;
    Scale scale = Scale::kPaper;
    double router_std = 0.02;
  };

  LlamaMoe(const Config& config, const LayerPlan& plan) : config_(config), plan_(plan) {
    require_inputs(plan, "llama_moe", 1);
    if (config.split == Split::kSharingInter) require_shared_share();
    else require_no_shared(plan, "llama_moe");
    if (config.split == Split::kSharingInner) require_width_within_block();
    else if (config.split != Split::kSharingInter) require_equal_shares(plan, "llama_moe");
    if (reads_salience(config.split) && plan.num_texts != plan.num_experts)
      user_error(
          "sample_data_path: llama_moe makes one expert per text when it splits by salience; {} are given for {} "
          "experts",
          plan.num_texts, plan.num_experts);
  }

  SampleNeed needs() const override {
    return reads_salience(config_.split) ? SampleNeed::kGradients : SampleNeed::kNothing;
  }

  MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples& samples) const override {
    const Ffn& dense = inputs[0];
    std::vector<std::vector<double>> salience_EF;
    if (reads_salience(config_.split))
      for (const BlockSamples& text : samples) salience_EF.push_back(salience(dense, text));
    MoeWeights made;
    if (config_.split == Split::kSharingInter) {
      const std::vector<int64_t> shared = shared_neurons(salience_EF), routed = others(shared);
      const Ffn rest = neurons(dense, routed);
      made.shared = neurons(dense, shared);
      for (const std::vector<int64_t>& index : by_falling_want(columns(salience_EF, routed)))
        made.experts.push_back(neurons(rest, index));
    } else {
      for (const std::vector<int64_t>& index : partition(dense, salience_EF))
        made.experts.push_back(neurons(dense, index));
    }
    for (Ffn& expert : made.experts) scale(expert, kDown, factor());
    made.router_ED = normal_rows(plan_.num_experts, plan_.hidden_size, config_.router_std, plan_.stream("router"));
    return made;
  }

 private:
  using Salience = std::vector<std::vector<double>>;  // [E][F]

  void require_shared_share() const {
    const int64_t routed = plan_.dense_width - plan_.shared_width;
    if (plan_.shared_width == 0 || plan_.num_experts * plan_.expert_width != routed)
      user_error(
          "moe.shared_expert_intermediate_size: llama_moe with sharing_inter divides {} neurons among a shared expert "
          "and {} routed ones of width {}; {} and these do not add up to them",
          plan_.dense_width, plan_.num_experts, plan_.expert_width, plan_.shared_width);
  }
  void require_width_within_block() const {
    if (plan_.expert_width > plan_.dense_width)
      user_error("moe.moe_intermediate_size: llama_moe takes experts from the {} neurons of a dense block, not {}",
                 plan_.dense_width, plan_.expert_width);
  }

  double factor() const {
    const double per_token = static_cast<double>(plan_.num_experts) / static_cast<double>(plan_.num_experts_per_tok);
    return config_.scale == Scale::kPaper ? per_token : per_token / plan_.weight_at_equal_logits;
  }

  Partition partition(const Ffn& dense, const Salience& salience_EF) const {
    const Stream stream = plan_.stream("split");
    if (config_.split == Split::kClustered)
      return balanced_kmeans(unit_rows(dense.weight_FD[kGate], dense.hidden_size), dense.hidden_size, plan_.num_experts,
                             config_.kmeans_iterations, stream);
    if (config_.split == Split::kRandom) return random_partition(plan_.dense_width, plan_.num_experts, stream);
    return config_.split == Split::kGradient ? by_falling_want(salience_EF) : wanted_by_each(salience_EF);
  }

  Partition wanted_by_each(const Salience& salience_EF) const {
    Partition parts;
    for (const std::vector<double>& want_F : salience_EF) parts.push_back(most_wanted(want_F, plan_.expert_width));
    return parts;
  }

  std::vector<int64_t> shared_neurons(const Salience& salience_EF) const {
    const auto width = static_cast<size_t>(plan_.dense_width);
    std::vector<double> votes_F(width, 0.0), sum_F(width, 0.0);
    for (const std::vector<int64_t>& part : wanted_by_each(salience_EF))
      for (const int64_t i : part) ++votes_F[static_cast<size_t>(i)];
    for (const std::vector<double>& want_F : salience_EF)
      for (size_t i = 0; i < width; ++i) sum_F[i] += want_F[i];
    const double largest = *std::max_element(sum_F.begin(), sum_F.end());
    for (size_t i = 0; i < width && largest > 0; ++i) votes_F[i] += 0.5 * sum_F[i] / largest;  // less than one vote
    return most_wanted(votes_F, plan_.shared_width);
  }

  std::vector<int64_t> others(const std::vector<int64_t>& shared) const {
    std::vector<int64_t> rest;
    for (int64_t i = 0; i < plan_.dense_width; ++i)
      if (!std::binary_search(shared.begin(), shared.end(), i)) rest.push_back(i);
    return rest;
  }

  static Salience columns(const Salience& salience_EF, const std::vector<int64_t>& index) {
    Salience chosen;
    for (const std::vector<double>& want_F : salience_EF) {
      std::vector<double>& row = chosen.emplace_back();
      for (const int64_t i : index) row.push_back(want_F[static_cast<size_t>(i)]);
    }
    return chosen;
  }

  Config config_;
  LayerPlan plan_;
};

void describe(LlamaMoe::Config& c, Fields& f) {
  using Scale = LlamaMoe::Scale;
  f.field("split", c.split,
          {{"random", Split::kRandom},
           {"clustered", Split::kClustered},
           {"gradient", Split::kGradient},
           {"sharing_inner", Split::kSharingInner},
           {"sharing_inter", Split::kSharingInter}},
          "how neurons are divided: at random, by balanced k-means on the rows of W_gate, or by their salience on one "
          "sample text per expert: among experts, to every expert its own choice, or with a shared expert");
  f.field("kmeans_iterations", c.kmeans_iterations, "at most this many rounds of k-means",
          {.min = 1, .active = c.split == Split::kClustered, .active_when = "split is clustered"});
  f.field("scale", c.scale, {{"paper", Scale::kPaper}, {"exact", Scale::kExact}},
          "routed experts' outputs times E / K, or times what makes K = E the dense block");
  f.field("router_std", c.router_std, "standard deviation of the router's weights", {.min = 0});
}

SY_REGISTER(Upcycling, LlamaMoe, "llama_moe", "the dense block's neurons divided among the experts")

}  // namespace
}  // namespace sy::upcycling
