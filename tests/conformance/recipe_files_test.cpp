// Registries, configs/upcycle and configs/merge name the same methods; every file prints back equal and runs as it
// stands but for its inputs, on small models of the width it is written for.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>

#include "tests/trainer/dense_toy.h"
#include "tests/trainer/sample_corpus.h"
#include "trainer/merge.h"
#include "trainer/upcycle.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;

std::set<std::string> files(const std::string& folder) {
  std::set<std::string> stems;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(SY_SOURCE_DIR) + "/configs/" + folder))
    stems.insert(entry.path().stem().string());
  return stems;
}

std::string path_of(const std::string& folder, const std::string& name) {
  return std::string(SY_SOURCE_DIR) + "/configs/" + folder + "/" + name + ".yaml";
}

template <class Interface>
std::set<std::string> registered() {
  const std::vector<std::string> names = Registry<Interface>::instance().names();
  return {names.begin(), names.end()};
}

template <class Recipe>
void expect_named_after_its_method(const std::string& folder) {
  for (const std::string& name : files(folder)) {
    const auto recipe = load_recipe<Recipe>(path_of(folder, name), {});
    EXPECT_EQ(recipe.method.type(), name);
    EXPECT_EQ(recipe_text(recipe_of<Recipe>(recipe_text(recipe))), recipe_text(recipe)) << name;
    const std::string text = read_text_file(path_of(folder, name));
    const size_t first = text.find('\n'), second = text.find('\n', first + 1);
    EXPECT_TRUE(text.starts_with("# ") && text.compare(first, 3, "\n# ") == 0 && text[second - 1] == '.') << name;
    expect_user_error([&] { load_recipe<Recipe>(path_of(folder, name), {"method.no_such_key=1"}); }, {"no_such_key"});
  }
}

// Every input replaced by a small dense run of the quickstart's width, every sample text by a short one.
template <class Recipe>
Recipe runnable(const std::string& folder, const std::string& name, const TempDir& temp) {
  auto recipe = load_recipe<Recipe>(path_of(folder, name), {"valid_data_path=null"});
  recipe.recipe.output = temp.file("out");
  for (size_t i = 0; i < recipe.recipe.inputs.size(); ++i) {
    ToyRun dense(
        dense_toy_config({"model.intermediate_size=384", "model.vocab_size=260", fmt::format("train.seed={}", i + 1)}));
    recipe.recipe.inputs[i] = save_run(dense, temp.file(fmt::format("input_{}", i)));
  }
  if constexpr (requires { recipe.samples; })
    for (size_t i = 0; i < recipe.samples.data_path.size(); ++i) {
      recipe.samples.data_path[i] = temp.file(fmt::format("text_{}", i));
      write_sample_corpus(recipe.samples.data_path[i], 100, static_cast<int64_t>(i));
    }
  return recipe;
}

void expect_finite_logits(const std::string& folder, const std::string& name) {
  for (const double x : logits_of(*run_from(folder))) ASSERT_TRUE(std::isfinite(x)) << name;
}

TEST(RecipeFiles, EveryMethodHasOneAndIsNamedInIt) {
  EXPECT_EQ(registered<upcycling::Upcycling>(), files("upcycle"));
  EXPECT_EQ(registered<merging::Merging>(), files("merge"));
  expect_named_after_its_method<UpcycleConfig>("upcycle");
  expect_named_after_its_method<MergeConfig>("merge");
}

// Rows of docs/upcycling.md: | `name` | ... |
TEST(RecipeFiles, TheDocumentedTablesAreTheRegistries) {
  std::istringstream page(read_text_file(std::string(SY_SOURCE_DIR) + "/docs/upcycling.md"));
  std::multiset<std::string> rows, names;
  for (std::string line; std::getline(page, line);)
    if (line.starts_with("| `")) rows.insert(line.substr(3, line.find('`', 3) - 3));
  for (const std::string& name : registered<upcycling::Upcycling>()) names.insert(name);
  for (const std::string& name : registered<merging::Merging>()) names.insert(name);
  EXPECT_EQ(rows, names);
}

TEST(RecipeFiles, UpcyclingRecipesRun) {
  for (const std::string& name : files("upcycle")) {
    SCOPED_TRACE(name);
    const TempDir temp;
    upcycle(runnable<UpcycleConfig>("upcycle", name, temp));
    expect_finite_logits(temp.file("out"), name);
  }
}

TEST(RecipeFiles, MergingRecipesRun) {
  for (const std::string& name : files("merge")) {
    SCOPED_TRACE(name);
    const TempDir temp;
    auto recipe = runnable<MergeConfig>("merge", name, temp);
    if (!recipe.base.empty()) recipe.base = recipe.recipe.inputs.front();
    merge(recipe);
    expect_finite_logits(temp.file("out"), name);
  }
}

}  // namespace
}  // namespace sy::testing
