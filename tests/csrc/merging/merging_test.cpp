// Merging methods on one small example worked out by hand, and what holds for any inputs.
#include "csrc/merging/merging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "csrc/core/registry.h"
#include "csrc/io/yaml_fields.h"
#include "csrc/merging/deltas.h"

namespace sy::merging {
namespace {

MergeSet example() {
  return {.name = "w", .base_n = {1, 1, 1, 1}, .inputs = {{1.5, .5, 1, 2}, {1.1, 1.4, .6, 1}, {.4, 1.2, 1.3, 1.1}}};
}

std::vector<double> merged(const std::string& yaml, const MergeSet& set, uint64_t seed = 1) {
  Component<Merging> method;
  read_fields(YamlDocument::from_text("method: " + yaml, "x.yaml"), "",
              [&](Fields& f) { f.field("method", method, ""); });
  return method.build({.num_inputs = std::ssize(set.inputs), .seed = seed})->merge(set);
}

void expect_close(const std::vector<double>& value, const std::vector<double>& expected, double tolerance = 1e-12) {
  ASSERT_EQ(value.size(), expected.size());
  for (size_t i = 0; i < value.size(); ++i) EXPECT_NEAR(value[i], expected[i], tolerance) << "element " << i;
}

TEST(Merging, AverageAndItsWeights) {
  expect_close(merged("average", example()), {1, 3.1 / 3, 2.9 / 3, 4.1 / 3});
  expect_close(merged("{type: average, weights: [2, 1, 1]}", example()), {1.125, .9, .975, 1.525});
  expect_close(merged("{type: average, weights: [0, 5, 0]}", example()), example().inputs[1]);
  EXPECT_THROW(merged("{type: average, weights: [1, 1]}", example()), UserError);
  EXPECT_THROW(merged("{type: average, weights: [0, 0, 0]}", example()), UserError);
}

TEST(Merging, TaskArithmeticAddsScaledDifferences) {
  expect_close(merged("{type: task_arithmetic, lambda: 0.3}", example()), {1, 1.03, .97, 1.33});
}

TEST(Merging, TiesStepByStep) {
  Vectors tau = deltas(example());
  for (auto& t : tau) trim(t, 0.5);
  expect_close(tau[0], {.5, 0, 0, 1});
  expect_close(tau[1], {0, .4, -.4, 0});
  expect_close(tau[2], {-.6, 0, .3, 0});
  EXPECT_EQ(elected_signs(tau), (std::vector<int8_t>{-1, 1, -1, 1}));
  expect_close(disjoint_merge(tau, elected_signs(tau), Disjoint::kMean), {-.6, .4, -.4, 1});
  expect_close(merged("{type: ties, kept_share: 0.5, lambda: 1}", example()), {.4, 1.4, .6, 2});
}

TEST(Merging, TiesTakesTheMajoritySignWhereASumIsZeroAndTrimsTiesToTheLowerIndex) {
  EXPECT_EQ(elected_signs({{1, -1, -1}, {-1, -1, -1}}), (std::vector<int8_t>{-1, -1, -1}));
  std::vector<double> equal = {1, -1, 1, 1};
  trim(equal, 0.5);
  expect_close(equal, {1, -1, 0, 0});
  expect_close(disjoint_merge({{1, 2}, {3, -5}}, {1, 1}, Disjoint::kSum), {4, 2});
  expect_close(disjoint_merge({{1, 0}}, {-1, 1}, Disjoint::kMean), {0, 0});
}

TEST(Merging, DareTiesWithoutDroppingSumsOrAveragesWhatHasTheElectedSign) {
  const MergeSet set{.name = "w", .base_n = {1, 1, 1}, .inputs = {{4, 0, 3}, {2, -1, 0}, {-1, 2, -3}}};
  expect_close(merged("{type: dare_ties, drop_rate: 0, lambda: 0.5}", set), {3, -.5, -1.5});
  expect_close(merged("{type: dare_ties, drop_rate: 0, lambda: 0.5, merge: mean}", set), {2, .25, -.25});
}

// Two opposite differences cancel where both are kept, unless one sign is elected.
TEST(Merging, DareTiesNeverAddsDifferencesOfOppositeSigns) {
  const MergeSet set{.name = "w",
                     .base_n = std::vector<double>(256, 0),
                     .inputs = {std::vector<double>(256, 1), std::vector<double>(256, -1)}};
  const std::vector<double> merge = merged("{type: dare_ties, drop_rate: 0.5, lambda: 1}", set);
  for (const double x : merge) EXPECT_TRUE(x == 0 || x == 2 || x == -2) << x;
  const auto dropped = std::count(merge.begin(), merge.end(), 0.0);  // expected 64, deviation 7
  EXPECT_GT(dropped, 40);
  EXPECT_LT(dropped, 90);
}

// Token probabilities (.5, .1), then (.4, .2), then (.3, .9), of two models.
TEST(Posterior, TwoTokensOfTwoModelsByHandAndTheNextTokenFromThem) {
  const auto ln = [](double p) { return std::log(p); };
  const std::vector<double> prior = {.5, .5};
  expect_close(mix({{ln(.5)}, {ln(.1)}}, prior).posterior_M, {.833333, .166667}, 5e-7);
  const Mixture two = mix({{ln(.5), ln(.4)}, {ln(.1), ln(.2)}}, prior);
  expect_close(two.posterior_M, {.909091, .090909}, 5e-7);
  const Mixture three = mix({{ln(.5), ln(.4), ln(.3)}, {ln(.1), ln(.2), ln(.9)}}, prior);
  EXPECT_NEAR(std::exp(three.log_probability - two.log_probability), .354545, 5e-7);
}

TEST(Posterior, EqualModelsAreTheirMixtureAndLaterSequencesWeighMore) {
  const Mixture equal = mix({{-1, -3}, {-1, -3}}, std::vector<double>{.2, .8});
  EXPECT_NEAR(equal.log_probability, -4, 1e-12);
  expect_close(equal.posterior_M, {.2, .8});
  const std::vector<SequenceEvidence> sequences = {{{0}, {-1000}}, {{-1000}, {0}}};
  expect_close(cached_prior(sequences, 1), {.5, .5});
  expect_close(cached_prior(sequences, 0.25), {.2, .8});
}

TEST(Merging, BranchTrainMergeWeighsInputsByTheEvidence) {
  Component<Merging> method("branch_train_merge");
  const auto merge = [&](const std::vector<SequenceEvidence>& sequences) {
    const auto built = method.build({.num_inputs = 3, .evidence = [&] { return sequences; }});
    return built->merge(example());
  };
  expect_close(merge({{{-1}, {-1}, {-1}}}), merged("average", example()));
  expect_close(merge({{{-1}, {-1}, {-500}}}), {1.3, .95, .8, 1.5});
}

TEST(Merging, OneInputWholeIsThatInput) {
  MergeSet one = example();
  one.inputs.resize(1);
  for (const char* method : {"average", "{type: task_arithmetic, lambda: 1}", "{type: ties, kept_share: 1, lambda: 1}",
                             "{type: dare, drop_rate: 0, lambda: 1}", "{type: dare_ties, drop_rate: 0, lambda: 1}"})
    expect_close(merged(method, one), one.inputs[0]);
}

TEST(Merging, TheOrderOfInputsDoesNotMatter) {
  MergeSet reversed = example();
  std::reverse(reversed.inputs.begin(), reversed.inputs.end());
  for (const char* method : {"average", "task_arithmetic", "{type: ties, kept_share: 0.5}"})
    expect_close(merged(method, reversed), merged(method, example()));
}

TEST(Merging, DareWithoutDroppingIsTaskArithmeticAndItsMeanIsToo) {
  expect_close(merged("{type: dare, drop_rate: 0}", example()), merged("task_arithmetic", example()));
  MergeSet one = example();
  one.inputs.resize(1);
  constexpr int kDraws = 1000;
  std::vector<double> mean(4, 0.0);
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    const std::vector<double> draw = merged("{type: dare, drop_rate: 0.9, lambda: 1}", one, seed);
    for (size_t j = 0; j < 4; ++j) {
      const double tau = one.inputs[0][j] - 1;
      EXPECT_TRUE(draw[j] == 1 || std::fabs(draw[j] - 1 - 10 * tau) < 1e-12) << draw[j];
      mean[j] += draw[j] / kDraws;
    }
  }
  // Of one draw: |tau| sqrt(p / (1 - p)) = 3 |tau|; three standard errors of the mean.
  for (size_t j = 0; j < 4; ++j)
    EXPECT_NEAR(mean[j], one.inputs[0][j], 1e-12 + 9 * std::fabs(one.inputs[0][j] - 1) / std::sqrt(kDraws));
}

TEST(Merging, DareMasksDifferBetweenTensorsAndInputs) {
  MergeSet set{.name = "a", .base_n = std::vector<double>(64, 0), .inputs = {std::vector<double>(64, 1)}};
  const std::vector<double> a = merged("{type: dare, drop_rate: 0.5, lambda: 1}", set);
  EXPECT_EQ(a, merged("{type: dare, drop_rate: 0.5, lambda: 1}", set));
  set.name = "b";
  EXPECT_NE(a, merged("{type: dare, drop_rate: 0.5, lambda: 1}", set));
  set.name = "a";
  set.inputs.push_back(set.inputs[0]);
  const std::vector<double> both = merged("{type: dare, drop_rate: 0.5, lambda: 1}", set);
  for (size_t j = 0; j < a.size(); ++j)
    if (both[j] != 2 * a[j]) return;
  FAIL() << "both inputs lost the same elements";
}

}  // namespace
}  // namespace sy::merging
