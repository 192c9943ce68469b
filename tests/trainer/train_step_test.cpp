// One optimizer step and short runs: the same bits again and with other thread counts, recomputation that changes
// nothing, accumulation that only reorders sums, and a skipped step that leaves everything untouched.
#include "trainer/train_step.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <limits>

#include "tests/kernels/compare.h"
#include "tests/trainer/toy_run.h"

namespace sy::testing {
namespace {

using kernel_test::with_threads;
using Overrides = std::vector<std::string>;

Overrides operator+(Overrides a, const Overrides& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// What a run leaves behind, with everything that could differ.
struct Outcome {
  std::vector<double> curve;
  NamedValues first_gradients, parameters, router_state;
};

Outcome run(const Overrides& overrides, int64_t steps = 4) {
  ToyRun toy(toy_config(overrides));
  Outcome out;
  out.curve = toy.curve(1, 1);
  out.first_gradients = toy.gradients();
  const std::vector<double> rest = toy.curve(2, steps);
  out.curve.insert(out.curve.end(), rest.begin(), rest.end());
  out.parameters = toy.parameters();
  out.router_state = toy.router_state();
  return out;
}

void expect_same(const Outcome& a, const Outcome& b, const std::string& what) {
  EXPECT_TRUE(same_bits(a.curve, b.curve)) << what << ": losses or gradient norms";
  expect_same_bits(a.first_gradients, b.first_gradients, what + ": gradient of step 1");
  expect_same_bits(a.parameters, b.parameters, what + ": parameters");
  expect_same_bits(a.router_state, b.router_state, what + ": router state");
}

// Variants of the routing whose arithmetic differs.
const std::vector<std::pair<const char*, Overrides>> kRoutings = {
    {"top-k with balance losses",
     {"moe.balance=[{type: load_balancing, coefficient: 0.01, scope: global_batch}, {type: z_loss}]"}},
    {"sigmoid with selection bias and capacity",
     {"moe.router={type: sigmoid_topk}", "moe.hooks=[{type: selection_bias, update_rate: 0.05}]",
      "moe.capacity={type: position, factor: 1.0}"}},
    {"switch with jitter and random capacity",
     {"moe.router={type: switch_top1, jitter_eps: 0.3}", "moe.num_experts_per_tok=1",
      "moe.capacity={type: random, factor: 1.0}"}},
    {"capacity with next choice", {"moe.capacity={type: position, factor: 0.7, overflow: next_choice}"}},
    {"hash of two experts", {"moe.router={type: hash}"}},
    {"top-p", {"moe.router={type: top_p}"}},
    {"expert choice, identity overflow",
     {"moe.router={type: expert_choice}", "moe.allow_batch_dependent_routing=true",
      "moe.capacity={type: position, factor: 0.8, overflow: identity}"}},
    {"experts of two widths",
     {"moe.expert_intermediate_sizes=[16, 24, 16, 24, 16, 16]", "moe.moe_intermediate_size=null"}},
};
const std::vector<const char*> kDtypes = {"train.dtype=f32", "train.dtype=bf16", "train.dtype=f64"};

TEST(TrainStep, TheSameRunTwiceGivesTheSameBits) {
  for (const auto& [name, routing] : kRoutings)
    for (const char* dtype : {"train.dtype=f32", "train.dtype=bf16"})
      expect_same(run(routing + Overrides{dtype}), run(routing + Overrides{dtype}), std::string(name) + ", " + dtype);
}

TEST(TrainStep, OneThreadAndTwoThreadsGiveTheSameBits) {
  for (const auto& [name, routing] : kRoutings)
    for (const char* dtype : kDtypes) {
      const Overrides overrides = routing + Overrides{dtype, "train.global_batch_size=2"};
      expect_same(with_threads(1, [&] { return run(overrides, 2); }),
                  with_threads(2, [&] { return run(overrides, 2); }), std::string(name) + ", " + dtype);
    }
}

TEST(TrainStep, AnotherSeedGivesAnotherRun) { EXPECT_FALSE(same_bits(run({}).curve, run({"train.seed=1235"}).curve)); }

TEST(TrainStep, RecomputationGivesTheSameBitsAsKeepingActivations) {
  for (const auto& [name, routing] : kRoutings)
    for (const char* dtype : kDtypes) {
      const Overrides overrides = routing + Overrides{dtype};
      expect_same(run(overrides + Overrides{"train.recompute=full"}), run(overrides), std::string(name) + ", " + dtype);
    }
}

// One micro-batch of 8 samples, two of 4 and four of 2 hold the same samples: where no loss or capacity is defined on
// the micro-batch, only the order of sums differs.
TEST(TrainStep, AccumulationOverMicroBatchesGivesTheGradientsOfTheWholeBatch) {
  const std::vector<std::pair<const char*, Overrides>> invariant = {
      {"top-k with z loss", {"moe.balance=[{type: z_loss, coefficient: 0.01}]"}},
      {"entropy and sequence balance",
       {"moe.balance=[{type: entropy}, {type: load_balancing, coefficient: 0.1, scope: sequence}]"}},
      {"lagged balance with selection bias",
       {"moe.balance=[{type: load_balancing, coefficient: 0.1, scope: global_batch_lagged}]",
        "moe.hooks=[{type: selection_bias, update_rate: 0.05}]"}},
      {"switch with jitter", {"moe.router={type: switch_top1, jitter_eps: 0.3}", "moe.num_experts_per_tok=1"}},
      {"hash", {"moe.router={type: hash}"}},
      {"expert choice by sequence",
       {"moe.router={type: expert_choice, group: sequence}", "moe.allow_batch_dependent_routing=true"}},
  };
  for (const auto& [name, routing] : invariant) {
    const Overrides f64 = routing + Overrides{"train.dtype=f64"};
    const Outcome whole = run(f64 + Overrides{"train.micro_batch_size=8"}, 10);
    for (const char* size : {"train.micro_batch_size=4", "train.micro_batch_size=2", "train.micro_batch_size=1"}) {
      const std::string what = std::string(name) + ", " + size;
      const Outcome parts = run(f64 + Overrides{size}, 10);
      expect_close({{"curve", parts.curve}}, {{"curve", whole.curve}}, 1e-10, what);
      expect_close(parts.first_gradients, whole.first_gradients, 1e-10, what + ": gradient");
      expect_close(parts.parameters, whole.parameters, 1e-10, what + ": parameters");
      expect_same_bits(parts.router_state, whole.router_state, what);
    }
  }
}

TEST(TrainStep, LossFallsOnAToyTask) {
  ToyRun toy(toy_config());
  const double first = toy.step(1).lm_loss;
  double last = 0;
  for (int64_t s = 2; s <= 40; ++s) last = toy.step(s).lm_loss;
  EXPECT_LT(last, first - 1.0);  // from about log 37 = 3.6; the walk has an entropy of about log 3 = 1.1
}

TEST(TrainStep, CountsTargetsAndTokensOfTheWholeBatch) {
  ToyRun toy(toy_config());
  const StepReport report = toy.step(1);
  EXPECT_EQ(report.batch_tokens, 8 * 12);
  EXPECT_EQ(report.target_tokens, 8 * 12 - (0 + 1 + 2 + 3 + 4 + 0 + 1 + 2));
  ASSERT_EQ(report.moe.size(), 2u);
  for (const auto& moe : report.moe) {
    int64_t total = 0;
    for (const int64_t n : moe.load) total += n;
    EXPECT_EQ(total, 8 * 12 * 2);
    EXPECT_EQ(moe.dropped_fraction, 0);
    EXPECT_GT(moe.entropy, 0);
    EXPECT_LE(moe.entropy, std::log(6.0) + 1e-6);
  }
}

TEST(TrainStep, VocabularyPaddingStaysZero) {
  ToyRun toy(toy_config({"optimizer.weight_decay=0.5"}));
  toy.curve(1, 3);
  EXPECT_EQ(expect_zero_padding(toy.ctx(), toy.decoder()), 2 * 2 * 11 * 32) << "values and gradients of two tables";
}

TEST(TrainStep, AStepThatIsNotFiniteChangesNothing) {
  ToyRun toy(toy_config({"moe.router={type: sigmoid_topk}", "moe.hooks=[{type: selection_bias, update_rate: 0.05}]"}));
  toy.curve(1, 2);
  Parameter* norm = toy.decoder().parameters().find("model.norm.weight");
  const float good = norm->value.data<float>()[0];
  norm->value.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  NamedValues before = toy.parameters(), state = toy.router_state();
  const StepReport report = toy.step(3);
  EXPECT_TRUE(report.skipped);
  EXPECT_FALSE(std::isfinite(report.lm_loss));
  expect_same_bits(toy.parameters(), before, "parameters after a skipped step");
  expect_same_bits(toy.router_state(), state, "router state after a skipped step");
  EXPECT_NE(toy.optimizer().first_bad_gradient(), "");
  norm->value.data<float>()[0] = good;
  EXPECT_FALSE(toy.step(3).skipped);
}

}  // namespace
}  // namespace sy::testing
