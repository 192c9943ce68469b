// Hand-worked numbers of the balance losses and capacity policies on fixture F1.
#include <gtest/gtest.h>

#include <cmath>

#include "parallel/mesh.h"
#include "tests/conformance/f1_layer.h"

namespace sy::test {
namespace {

double loss_of(LayerRig& rig) { return rig.forward().layer_losses; }

std::string balance(const std::string& of) { return "moe.balance=[{" + of + ", coefficient: 1}]"; }

// --- load balancing ---

TEST(LoadBalancing, CountsTheAssignmentsBeforeCapacity) {
  EXPECT_NEAR(loss_of(*f1_layer({balance("type: load_balancing")})), 1.140521, 1e-6);
  EXPECT_NEAR(loss_of(*f1_layer({balance("type: load_balancing"), "moe.capacity={type: position, factor: 0.5}"})),
              1.140521, 1e-6);
  EXPECT_NEAR(loss_of(*f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1, jitter_eps: 0}",
                                 balance("type: load_balancing")})),
              1.281041, 1e-6);
}

TEST(LoadBalancing, UniformRoutingGivesTheCoefficient) {
  auto rig = f1_layer({"moe.num_experts_per_tok=4", "moe.balance=[{type: load_balancing, coefficient: 0.3}]"});
  rig->set_input(Doubles(16, 0.0));
  EXPECT_NEAR(loss_of(*rig), 0.3, 1e-15);
}

TEST(LoadBalancing, SequenceScopeReadsNormalisedSigmoidScores) {
  EXPECT_NEAR(loss_of(*f1_layer({"moe.router={type: sigmoid_topk}", balance("type: load_balancing, scope: sequence")})),
              1.042781, 1e-6);
}

// F1 in two halves of two tokens: as sequences of one micro-batch, or as micro-batches.
TEST(LoadBalancing, LocalScopesAverageTheHalves) {
  LayerRig rig(f1_moe({balance("type: load_balancing, scope: sequence")}),
               {.sequences = 2, .seq_length = 2, .hidden = 4, .width_divisor = 1});
  rig.set_parameter("mlp.gate.weight", kF1RouterWeight);
  rig.set_input(kF1Logits);
  EXPECT_NEAR(loss_of(rig), 1.243571, 1e-6);
  const std::vector<std::string> micro = {balance("type: load_balancing, scope: micro_batch")};
  const double first = loss_of(*f1_layer(micro, 0, 2)), second = loss_of(*f1_layer(micro, 2, 2));
  EXPECT_NEAR(2 * first, 1.487141, 1e-6);
  EXPECT_NEAR(2 * second, 1.0, 1e-6);
}

// Two ranks, of which the other contributes these numbers to a sum of counts. Groups of one rank are real.
class CountsOfAnotherRank final : public Comm {
 public:
  explicit CountsOfAnotherRank(std::vector<int64_t> counts) : counts_(std::move(counts)) {}
  const std::string& name() const override { return name_; }
  CommPlace& place() override { return place_; }
  std::unique_ptr<Comm> split(int, int, const std::string& name) override {
    if (name == "tp" || name == "ep") return make_single_comm();
    return std::make_unique<CountsOfAnotherRank>(counts_);
  }
  int rank() const override { return 0; }
  int size() const override { return 2; }
  void all_reduce_sum(std::span<float>) override {}
  void all_reduce_sum(std::span<double>) override {}
  void all_reduce_sum(std::span<int64_t> values) override {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += counts_.at(i);
  }
  void broadcast(std::span<std::byte>, int) override {}
  void barrier() override {}
  std::vector<std::string> gather_strings(const std::string&, int) override { return {}; }

 protected:
  CommRequest start_all_gather_elements(const void*, void*, int64_t, CommElement) override {
    throw Error("balance losses only sum");
  }
  CommRequest start_all_to_all_elements(const void*, std::span<const int64_t>, void*, std::span<const int64_t>,
                                        CommElement, CommKind) override {
    throw Error("balance losses only sum");
  }

 private:
  std::vector<int64_t> counts_;
  std::string name_ = "two ranks";
  CommPlace place_;
};

TEST(LoadBalancing, GlobalScopeOverTwoRanksIsTheLossOfTheUnion) {
  const std::vector<std::string> global = {balance("type: load_balancing, scope: global_batch")};
  auto first = f1_layer(global, 0, 2), second = f1_layer(global, 2, 2);
  first->forward();
  second->forward();
  CountsOfAnotherRank beside_first(second->demand()), beside_second(first->demand());
  Mesh first_mesh(beside_first, {.ranks = 2}), second_mesh(beside_second, {.ranks = 2});
  first->ctx().mesh = &first_mesh;
  second->ctx().mesh = &second_mesh;
  EXPECT_NEAR(loss_of(*first) + loss_of(*second), 1.140521, 1e-6);
  EXPECT_EQ(first->demand(), (std::vector<int64_t>{2, 3, 2, 1}));
}

TEST(LoadBalancing, GlobalScopeOfALaterMicroBatchKnowsTheEarlierOnes) {
  auto rig = f1_layer({balance("type: load_balancing, scope: global_batch")}, 0, 2);
  const double first = rig->forward().layer_losses;
  EXPECT_NEAR(2 * first, 1.487141, 1e-6) << "the first micro-batch knows itself only";
  rig->set_input(Doubles(kF1Logits.begin() + 8, kF1Logits.end()));
  const double second = rig->forward(true, /*starts_step=*/false).layer_losses - first;
  // E sum_e f_e P_e of the second half alone, with the counts [2 3 2 1] of both.
  const Doubles mean_p = {(.287490 + .032059) / 2, (.473991 + .087144) / 2, (.064148 + .643914) / 2,
                          (.174371 + .236883) / 2};
  EXPECT_NEAR(2 * second, 4 * (.25 * mean_p[0] + .375 * mean_p[1] + .25 * mean_p[2] + .125 * mean_p[3]), 2e-6);
}

TEST(LoadBalancing, LaggedScopeUsesTheStepBefore) {
  auto rig = f1_layer({balance("type: load_balancing, scope: global_batch_lagged")}, 0, 2);
  const auto both_halves = [&] {
    rig->set_input(Doubles(kF1Logits.begin(), kF1Logits.begin() + 8));
    rig->forward();
    rig->set_input(Doubles(kF1Logits.begin() + 8, kF1Logits.end()));
    return rig->forward(true, /*starts_step=*/false).layer_losses;
  };
  EXPECT_EQ(both_halves(), 0) << "there is no step before the first";
  rig->end_step();
  EXPECT_NEAR(both_halves(), 1.140521, 1e-6);
}

TEST(LoadBalancing, VariableExpertsPerTokenAreDividedByTheAssignmentsMade) {
  // top_p: 0.6 selects {0} {1} {1 0} {2}: counts [2 2 1 0] of 5.
  const Doubles mean_p = {.250945, .401948, .226199, .120907};
  EXPECT_NEAR(loss_of(*f1_layer({"moe.router={type: top_p, top_p: 0.6}", balance("type: load_balancing")})),
              4 * (.4 * mean_p[0] + .4 * mean_p[1] + .2 * mean_p[2]), 2e-6);
}

// --- the other losses ---

TEST(ZLoss, IsTheMeanSquaredLogPartitionAndSeesAShift) {
  auto rig = f1_layer({balance("type: z_loss")});
  const LayerRig::Result plain = rig->forward();
  EXPECT_NEAR(plain.layer_losses, 6.816655, 1e-6);
  Doubles shifted = kF1Logits;
  for (double& l : shifted) l += 1;
  rig->set_input(shifted);
  // mean (lse + 1)^2 = mean lse^2 + 2 mean lse + 1
  EXPECT_NEAR(rig->forward().layer_losses, 6.816655 + 2 * (2.440190 + 3.210998 + 2.246567 + 2.440190) / 4 + 1, 3e-6);
}

TEST(Entropy, IsTheMeanOverTokensAndMayBeNegated) {
  EXPECT_NEAR(loss_of(*f1_layer({balance("type: entropy")})), .940033, 1e-6);
  EXPECT_NEAR(loss_of(*f1_layer({"moe.balance=[{type: entropy, coefficient: -2}]"})), -1.880066, 2e-6);
}

TEST(SquaredCv, UsesThePopulationVarianceOfTheSummedWeights) {
  EXPECT_NEAR(loss_of(*f1_layer({balance("type: squared_cv")})), .291238, 1e-6);
}

TEST(Balance, SeveralLossesAdd) {
  auto rig = f1_layer({"moe.balance=[{type: load_balancing, coefficient: 1}, {type: z_loss, coefficient: 0.1}]"});
  EXPECT_NEAR(loss_of(*rig), 1.140521 + .6816655, 2e-6);
  EXPECT_NEAR(rig->sink_value("load_balancing_loss"), 1.140521, 1e-6);
  EXPECT_NEAR(rig->sink_value("z_loss"), .6816655, 1e-6);
}

// --- capacity ---

std::vector<std::pair<int, int>> kept_pairs(const Decisions& d) {
  std::vector<std::pair<int, int>> pairs;
  for (std::size_t n = 0; n < d.token.size(); ++n)
    if (d.kept[n] != 0) pairs.emplace_back(d.token[n], d.expert[n]);
  return pairs;
}

// factor 0.5 is one place per expert with two experts per token; 1.0 with one.
TEST(CapacityByPosition, FirstChoicesComeBeforeSecondChoices) {
  auto rig = f1_layer({"moe.capacity={type: position, factor: 0.5}"});
  using Pairs = std::vector<std::pair<int, int>>;
  EXPECT_EQ(kept_pairs(rig->forward().decisions), (Pairs{{0, 0}, {1, 1}, {3, 2}, {3, 3}}));
  EXPECT_EQ(rig->kept(), (std::vector<int64_t>{1, 1, 1, 1}));
  EXPECT_EQ(rig->demand(), (std::vector<int64_t>{2, 3, 2, 1}));
}

TEST(CapacityByPosition, EvaluationHasItsOwnFactor) {
  auto rig = f1_layer({"moe.capacity={type: position, factor: 0.5, eval_factor: 2.0}"});
  EXPECT_EQ(kept_pairs(rig->forward(true).decisions).size(), 4u);
  EXPECT_EQ(kept_pairs(rig->forward(false).decisions).size(), 8u);
}

std::string top1(const std::string& capacity) { return "moe.capacity={" + capacity + ", factor: 1.0}"; }

Doubles rows_swapped_1_and_2() {
  Doubles x = kF1Logits;
  std::swap_ranges(x.begin() + 4, x.begin() + 8, x.begin() + 8);
  return x;
}

TEST(CapacityByTokenScore, TheStrongerTokenKeepsItsPlaceWhereverItStands) {
  for (const bool batch_priority : {false, true}) {
    auto rig = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1, jitter_eps: 0}",
                         top1(batch_priority ? "type: token_score" : "type: position"),
                         "moe.allow_batch_dependent_routing=true"});
    EXPECT_EQ(rig->forward().decisions.kept, (std::vector<uint8_t>{1, 1, 0, 1}));
    rig->set_input(rows_swapped_1_and_2());
    EXPECT_EQ(rig->forward().decisions.kept[batch_priority ? 1 : 2], 0);
    EXPECT_EQ(rig->kept(), (std::vector<int64_t>{1, 1, 1, 0}));
  }
}

TEST(CapacityByScore, AnExpertKeepsItsHighestScores) {
  auto rig = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1, jitter_eps: 0}",
                       top1("type: score"), "moe.allow_batch_dependent_routing=true"});
  rig->set_input(rows_swapped_1_and_2());
  EXPECT_EQ(rig->forward().decisions.kept, (std::vector<uint8_t>{1, 0, 1, 1}));
}

TEST(CapacityRandom, DrawsAnewEachStepAndFavoursNoToken) {
  // Four equal tokens want one expert that has one place.
  auto rig = f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1, jitter_eps: 0}",
                       "moe.capacity={type: random, factor: 1.0}"});
  rig->set_input({9, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0});
  std::vector<int> won(4);
  for (int step = 0; step < 400; ++step) {
    const Decisions d = rig->forward().decisions;
    EXPECT_EQ(rig->forward().decisions, d) << "the draw belongs to the step";
    for (std::size_t t = 0; t < 4; ++t) won[t] += d.kept[t];
    rig->end_step();
  }
  EXPECT_EQ(won[0] + won[1] + won[2] + won[3], 400);
  for (const int wins : won) EXPECT_NEAR(wins, 100, 35);  // four standard deviations
}

// Token 2 wants expert 1, which token 1 has taken.
class Overflow : public testing::Test {
 protected:
  std::unique_ptr<LayerRig> rig(const std::string& action) {
    return f1_layer({"moe.num_experts_per_tok=1", "moe.router={type: switch_top1, jitter_eps: 0}",
                     top1("type: position, overflow: " + action)});
  }
};

TEST_F(Overflow, ZeroLeavesNothing) { EXPECT_EQ(row_of(rig("zero")->forward().y, 2), Doubles(4, 0.0)); }

TEST_F(Overflow, IdentityContributesTheWeightedInput) {
  const Doubles x = row_of(kF1Logits, 2);
  expect_near(row_of(rig("identity")->forward().y, 2),
              {.473991 * x[0], .473991 * x[1], .473991 * x[2], .473991 * x[3]});
}

TEST_F(Overflow, NextChoiceGoesToTheBestExpertWithRoom) {
  auto layer = rig("next_choice");  // token 2 prefers 1, 0, 3: the first two are taken
  const LayerRig::Result r = layer->forward();
  EXPECT_EQ(r.decisions.demanded_expert, (Ints{0, 1, 1, 2}));
  EXPECT_EQ(r.decisions.expert, (Ints{0, 1, 3, 2}));
  EXPECT_EQ(layer->demand(), (std::vector<int64_t>{1, 2, 1, 0})) << "losses and hooks see what was asked for";
  const Doubles y = expert_output(*layer, 3, row_of(kF1Logits, 2));
  expect_near(row_of(r.y, 2), {.174371 * y[0], .174371 * y[1], .174371 * y[2], .174371 * y[3]}, 2e-6);
}

TEST_F(Overflow, RenormalisingAfterDropsGivesTheRestTheWholeWeight) {
  for (const bool renormalise : {false, true}) {
    auto layer = f1_layer({std::string("moe.capacity={type: position, factor: 0.5, renormalise_after_drop: ") +
                           (renormalise ? "true}" : "false}")});
    const Doubles y = layer->forward().y, ffn = expert_output(*layer, 0, row_of(kF1Logits, 0));
    const double weight = renormalise ? 1 : .731059;  // token 0 keeps expert 0 only
    expect_near(row_of(y, 0), {weight * ffn[0], weight * ffn[1], weight * ffn[2], weight * ffn[3]}, 2e-6);
  }
}

}  // namespace
}  // namespace sy::test
