// Recipes: the YAML files of commands that make a model of other models. Strict as a run's configuration; overrides
// follow the file on the command line.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "csrc/core/fields.h"
#include "csrc/io/print_fields.h"
#include "csrc/io/yaml_fields.h"
#include "parallel/comm.h"

namespace sy {

// The keys that every recipe has.
struct RecipeConfig {
  std::vector<std::string> inputs;
  std::string output;
  int64_t seed = 1234;
  std::vector<std::string> valid_data_path;
  int64_t eval_windows = 64;
};
void describe(RecipeConfig& recipe, Fields& fields);

template <class Recipe>
Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  YamlDocument document = YamlDocument::from_file(path);
  for (const std::string& assignment : overrides) document.apply_override(assignment);
  Recipe recipe;
  read_fields(document, "", [&](Fields& f) { describe(recipe, f); });
  return recipe;
}

// YAML that reads back to an equal recipe.
template <class Recipe>
std::string recipe_text(const Recipe& recipe) {
  Recipe copy = recipe;  // describing takes a mutable struct
  return print_fields([&](Fields& f) { describe(copy, f); });
}

// The command line `switchyard COMMAND CONFIG.yaml [key=value ...]`, on one process.
int run_recipe(int argc, char** argv, Comm& comm, const std::string& command, const std::string& summary,
               const std::function<void(const std::string& path, const std::vector<std::string>& overrides)>& run);

}  // namespace sy
