// Clustered regression: what balance losses, the selection bias, top-p and the z-loss do to a router in training.
//
// Four clusters in R^8 with centroids 1.5 N(0,I); x = centroid + 0.5 N(0,I), y = R_c x with one matrix R_c per cluster.
// 128 fresh tokens per step, 800 Adam steps of 3e-3, f64. The assertions are on the mechanism (how uneven the load is,
// how many experts a token takes, how large the logits are) and not on the error, which balance may help or hurt.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"
#include "tests/conformance/layer_rig.h"
#include "trainer/config.h"

namespace sy::test {
namespace {

constexpr int64_t kTokens = 128, kWidth = 8, kClusters = 4;
constexpr int kSteps = 800, kMeasured = 20;

class Task {
  template <class V>
  static auto& at(V& values, int64_t i) {
    return values[static_cast<std::size_t>(i)];
  }

 public:
  explicit Task(uint64_t seed) : seed_(seed) {
    const Philox stream = stream_of(0);
    for (uint64_t i = 0; i < kClusters * kWidth; ++i) centroid_.push_back(1.5 * stream.normal(i));
    for (uint64_t i = 0; i < kClusters * kWidth * kWidth; ++i)
      map_.push_back(stream.normal(1000 + i) / std::sqrt(double(kWidth)));
  }
  // Fresh tokens for each step.
  void draw(int step, std::vector<double>& x, std::vector<double>& y) const {
    const Philox stream = stream_of(static_cast<uint64_t>(step) + 1);
    x.assign(kTokens * kWidth, 0.0);
    y.assign(kTokens * kWidth, 0.0);
    for (int64_t t = 0; t < kTokens; ++t) {
      const auto c = static_cast<int64_t>(stream.uniform(static_cast<uint64_t>(t)) * kClusters);
      for (int64_t d = 0; d < kWidth; ++d)
        at(x, t * kWidth + d) =
            at(centroid_, c * kWidth + d) + 0.5 * stream.normal(static_cast<uint64_t>(1000 + t * kWidth + d));
      for (int64_t i = 0; i < kWidth; ++i)
        for (int64_t j = 0; j < kWidth; ++j)
          at(y, t * kWidth + i) += at(map_, (c * kWidth + i) * kWidth + j) * at(x, t * kWidth + j);
    }
  }

 private:
  Philox stream_of(uint64_t step) const { return Philox::keyed(seed_, step, 7, 7, RngPurpose::kInit); }

  uint64_t seed_;
  std::vector<double> centroid_, map_;
};

struct Outcome {
  double first_error = 0, error = 0;         // mean squared error of the first and of the measured steps
  double max_vio = 0;                        // max load / mean load - 1 over the measured steps together
  double experts_at_start = 0, experts = 0;  // per token
  double squared_lse = 0;                    // mean over tokens of log-sum-exp squared
};

MoeConfig moe_of(const std::string& moe) {
  return parse_config("model: {vocab_size: 16, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 1}\nmoe: {" +
                          moe +
                          "}\ndata: {train_data_path: [x]}\n"
                          "train: {train_iters: 1, global_batch_size: 1, seq_length: 4}\noptimizer: {lr: 1}\n",
                      "task.yaml", {})
      .moe;
}

double squared_lse_of(LayerRig& rig, const std::vector<double>& x) {
  const Tensor weight = rig.parameters().find("mlp.gate.weight")->value;
  const std::vector<double> w = rig.read(weight);
  const auto experts = static_cast<std::size_t>(weight.dim(0));
  double total = 0;
  for (std::size_t t = 0; t < kTokens; ++t) {
    std::vector<double> logits(experts, 0.0);
    for (std::size_t e = 0; e < experts; ++e)
      for (std::size_t d = 0; d < kWidth; ++d) logits[e] += w[e * kWidth + d] * x[t * kWidth + d];
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double l : logits) sum += std::exp(l - top);
    const double lse = top + std::log(sum);
    total += lse * lse / static_cast<double>(kTokens);
  }
  return total;
}

Outcome train_once(const std::string& moe, double router_stddev, uint64_t seed) {
  LayerRig rig(moe_of(moe),
               {.sequences = 1, .seq_length = kTokens, .hidden = kWidth, .width_divisor = 1, .initializer_range = 0.35},
               DType::f64, DeviceType::cpu, seed);
  const Tensor router = rig.parameters().find("mlp.gate.weight")->value;
  std::vector<double> weight;
  const Philox stream = Philox::keyed(seed, 0, 8, 8, RngPurpose::kInit);
  for (int64_t i = 0; i < router.count(); ++i)
    weight.push_back(router_stddev * stream.normal(static_cast<uint64_t>(i)));
  rig.write(router, weight);

  const Task task(seed);
  Outcome outcome;
  std::vector<int64_t> load(static_cast<std::size_t>(rig.layer().num_experts()));
  std::vector<double> x, y;
  for (int step = 0; step < kSteps + kMeasured; ++step) {
    task.draw(step, x, y);
    rig.set_input(x);
    const double error = rig.train_step(y, 3e-3);
    const std::vector<int64_t> demand = rig.demand();
    int64_t total = 0;
    for (const int64_t n : demand) total += n;
    const double experts = static_cast<double>(total) / kTokens;
    if (step == 0) {
      outcome.first_error = error;
      outcome.experts_at_start = experts;
    }
    if (step < kSteps) continue;
    for (std::size_t e = 0; e < load.size(); ++e) load[e] += demand[e];
    outcome.error += error / kMeasured;
    outcome.experts += experts / kMeasured;
    outcome.squared_lse += squared_lse_of(rig, x) / kMeasured;
  }
  int64_t total = 0;
  for (const int64_t n : load) total += n;
  outcome.max_vio = static_cast<double>(*std::max_element(load.begin(), load.end()) * rig.layer().num_experts()) /
                        static_cast<double>(total) -
                    1;
  return outcome;
}

// The mean of three seeds.
Outcome train(const std::string& moe, double router_stddev = 0.02) {
  constexpr int kSeeds = 3;
  Outcome mean;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Outcome one = train_once(moe, router_stddev, seed);
    for (double Outcome::*field : {&Outcome::first_error, &Outcome::error, &Outcome::max_vio,
                                   &Outcome::experts_at_start, &Outcome::experts, &Outcome::squared_lse})
      mean.*field += one.*field / kSeeds;
  }
  fmt::print("error {:.3f} -> {:.3f}, MaxVio {:.2f}, experts per token {:.2f} -> {:.2f}, lse^2 {:.2f}\n",
             mean.first_error, mean.error, mean.max_vio, mean.experts_at_start, mean.experts, mean.squared_lse);
  return mean;
}

TEST(ClusteredRegression, ALoadBalancingLossEvensOutTopOne) {
  const std::string top1 =
      "num_experts: 4, num_experts_per_tok: 1, moe_intermediate_size: 16, router: {type: softmax_topk, "
      "norm_topk_prob: false}";
  const Outcome none = train(top1);
  const Outcome balanced = train(top1 + ", balance: [{type: load_balancing, coefficient: 0.1}]");
  EXPECT_LT(balanced.max_vio, 0.3);
  EXPECT_LT(balanced.max_vio, 0.4 * none.max_vio);
  EXPECT_LT(balanced.error, 0.3 * balanced.first_error);
}

TEST(ClusteredRegression, ASelectionBiasEvensOutSigmoidRouting) {
  const std::string sigmoid =
      "num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 8, router: {type: sigmoid_topk}";
  const Outcome none = train(sigmoid);
  const Outcome biased = train(sigmoid + ", hooks: [{type: selection_bias, update_rate: 0.001}]");
  EXPECT_LT(biased.max_vio, 0.2);
  EXPECT_LT(biased.max_vio, 0.3 * none.max_vio);
  EXPECT_LT(biased.error, 0.5 * biased.first_error);
}

TEST(ClusteredRegression, TopPTakesFewerExpertsWhenEntropyIsPunished) {
  const std::string top_p =
      "num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 8, router: {type: top_p, top_p: 0.4}, "
      "balance: [{type: load_balancing, coefficient: 0.01}, {type: entropy, coefficient: ";
  const Outcome free = train(top_p + "0}]", 0), sharp = train(top_p + "0.05}]", 0);
  EXPECT_DOUBLE_EQ(free.experts_at_start, 4) << "an even router exceeds 0.4 with four of eight experts";
  EXPECT_LT(free.experts, 3) << "training itself makes the router surer";
  EXPECT_LT(sharp.experts - 1, 0.6 * (free.experts - 1));
}

TEST(ClusteredRegression, TheZLossShrinksLargeLogits) {
  const std::string top2 =
      "num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 8, router: {type: softmax_topk}, balance: "
      "[{type: "
      "z_loss, coefficient: ";
  const Outcome none = train(top2 + "0}]", 2), some = train(top2 + "0.001}]", 2), much = train(top2 + "0.01}]", 2);
  EXPECT_LT(some.squared_lse, 0.7 * none.squared_lse);
  EXPECT_LT(much.squared_lse, 0.5 * some.squared_lse);
}

}  // namespace
}  // namespace sy::test
