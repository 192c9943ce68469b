// Merging whole models: the method's result in every tensor, over tensors or the whole model, and mistakes that leave
// nothing.
#include "trainer/merge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/trainer/dense_toy.h"
#include "tests/trainer/sample_corpus.h"
#include "trainer/token_evidence.h"

namespace sy::testing {
namespace {

class Merge : public ::testing::Test {
 protected:
  std::string yaml(const std::string& inputs, const std::string& method, const std::string& more = "") const {
    return fmt::format("inputs: [{}]\noutput: {}\nmethod: {}\n{}", inputs, temp_.file("out"), method, more);
  }
  DerivationReport run(const std::string& method, const std::string& more = "") const {
    return merge(recipe_of<MergeConfig>(yaml(path_a_ + ", " + path_b_, method, more)));
  }

  TempDir temp_;
  ToyRun a_{dense_toy_config({"train.dtype=f64"})}, b_{dense_toy_config({"train.dtype=f64", "train.seed=9"})};
  std::string path_a_ = save_run(a_, temp_.file("a")), path_b_ = save_run(b_, temp_.file("b"));
};

TEST_F(Merge, AverageIsTheMeanOfEveryTensor) {
  run("average");
  NamedValues merged = run_from(temp_.file("out"))->parameters(), a = a_.parameters(), b = b_.parameters();
  ASSERT_EQ(merged.size(), a.size());
  for (const auto& [name, values] : merged)
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], (a[name][i] + b[name][i]) / 2, 1e-15) << name;
}

// All differences kept and none shared: base a, inputs a and b, so that the sum of the differences is b - a.
TEST_F(Merge, TiesThatKeepsAllOfOneDifferenceIsThatModelInBothScopes) {
  for (const char* scope : {"model", "tensor"}) {
    run(fmt::format("{{type: ties, kept_share: 1, scope: {}}}", scope), "base: " + path_a_);
    NamedValues merged = run_from(temp_.file("out"))->parameters(), b = b_.parameters();
    for (const auto& [name, values] : merged)
      for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], b[name][i], 1e-14) << name;
    std::filesystem::remove_all(temp_.file("out"));
  }
}

TEST_F(Merge, TiesOverTheModelMayLeaveATensorUntouchedAndWithinTensorsDoesNot) {
  const std::string norm = "model.norm.weight";  // equal in both models, so its differences are the smallest
  for (const char* scope : {"model", "tensor"}) {
    run(fmt::format("{{type: ties, kept_share: 0.1, scope: {}}}", scope), "base: " + path_a_);
    NamedValues merged = run_from(temp_.file("out"))->parameters(), a = a_.parameters();
    int64_t changed = 0, small = 0;
    for (size_t i = 0; i < a[norm].size(); ++i) changed += merged[norm][i] != a[norm][i] ? 1 : 0;
    const std::string wide = "model.layers.0.mlp.up_proj.weight";
    for (size_t i = 0; i < a[wide].size(); ++i) small += merged[wide][i] != a[wide][i] ? 1 : 0;
    EXPECT_EQ(changed, 0);
    if (std::string(scope) == "tensor") EXPECT_EQ(small, static_cast<int64_t>(a[wide].size() / 10));
    else EXPECT_NE(small, static_cast<int64_t>(a[wide].size() / 10));
    std::filesystem::remove_all(temp_.file("out"));
  }
}

// Weights are the posterior of the one window that is looked at.
TEST_F(Merge, BranchTrainMergeWeighsTensorsByThePosterior) {
  ToyRun a(dense_toy_config({"train.dtype=f64", "model.vocab_size=260"})),
      b(dense_toy_config({"train.dtype=f64", "model.vocab_size=260", "train.seed=9"}));
  const std::string text = temp_.file("text");
  write_sample_corpus(text, 200, 1);
  const std::vector<std::string> paths = {save_run(a, temp_.file("wide_a")), save_run(b, temp_.file("wide_b"))};
  std::vector<double> loss;
  for (const std::string& path : paths) {
    const std::vector<StoredModel> model = open_models({path});
    loss.push_back(0);
    for (const auto& sequence : token_evidence(model, {.data_path = {text}, .tokens = 12}))
      for (const double log_probability : sequence[0]) loss.back() -= log_probability;
  }
  ASSERT_GT(std::fabs(loss[0] - loss[1]), 0.1);
  merge(recipe_of<MergeConfig>(
      yaml(paths[0] + ", " + paths[1], "branch_train_merge", "sample_data_path: [" + text + "]\nsample_tokens: 12")));
  const double of_a = 1 / (1 + std::exp(loss[0] - loss[1]));
  NamedValues merged = run_from(temp_.file("out"))->parameters(), of_first = a.parameters(), of_last = b.parameters();
  for (const auto& [name, values] : merged)
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], of_a * of_first[name][i] + (1 - of_a) * of_last[name][i], 1e-12) << name;
}

TEST_F(Merge, MistakesAreOneLineAndLeaveNothing) {
  ToyRun other(dense_toy_config({"train.dtype=f64", "model.vocab_size=39"}));
  const std::string path_other = save_run(other, temp_.file("other"));
  const auto refused = [&](const std::string& text, const std::vector<std::string>& fragments) {
    expect_user_error([&] { merge(recipe_of<MergeConfig>(text)); }, fragments);
    EXPECT_FALSE(std::filesystem::exists(temp_.file("out")));
    EXPECT_FALSE(std::filesystem::exists(temp_.file(".tmp_out")));
  };
  refused(yaml(path_a_ + ", " + path_other, "average"), {path_other, "model.vocab_size is '37' there and '39' here"});
  refused(yaml(path_a_, "ties"), {"base is missing", "ties"});
  refused(yaml(path_a_, "average", "base: " + path_b_), {"base", "no effect", "average"});
  refused(yaml(path_a_, "{type: average, weights: [1, 2]}"), {"weights", "2", "1"});
  refused(yaml(temp_.file("nothing"), "average"), {"nothing"});
  refused(yaml(path_a_, "branch_train_merge"), {"sample_data_path is missing", "branch_train_merge"});
  refused(yaml(path_a_, "average", "sample_data_path: [text]"), {"sample_data_path", "text", "no effect", "average"});
}

}  // namespace
}  // namespace sy::testing
