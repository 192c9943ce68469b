// A model made of other models by a recipe: what `switchyard upcycle` and `switchyard merge` share. The output is a
// folder that appears complete or not at all:
//   OUT/config.yaml, OUT/checkpoints/step_00000000   a weights-only checkpoint (weights_checkpoint.h); a run started
//                                                    from that config begins with these weights and goes to OUT/run
//   OUT/derivation.json                              recipe, seed, and hash of every input
//   OUT/lineage.safetensors                          where each neuron came from, if the command keeps that
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "csrc/io/tensor_source.h"
#include "trainer/recipe.h"
#include "trainer/stored_model.h"

namespace sy {

// The parent's configuration for a run from `output`.
Config derived_config(const Config& parent, const std::string& output);

struct Derivation {
  std::string command, recipe_text;
  const RecipeConfig* recipe = nullptr;
  const std::vector<StoredModel>* inputs = nullptr;
  Config config;                         // of the new model
  const TensorSource* source = nullptr;  // its tensors
  // Writes the lineage file after all tensors were read; empty: there is none.
  std::function<void(const std::string& path)> write_lineage = {};
  std::string hardware = {};  // the cost file from which the time of a step is modelled; "": it is not
  std::string remark = {};    // a line of the report; empty: none
};

struct DerivationReport {
  int64_t file_bytes = 0;
  std::string lineage_hash;  // "" without lineage
  // On the recipe's validation text, if it names any: of each input, then of the new model.
  std::vector<double> losses;
  int64_t loss_tokens = 0;
  std::vector<double> step_seconds;  // modelled, if there is a cost file: of each input, then of the new model
};

// Writes recipe->output and prints the report, or throws and leaves nothing.
DerivationReport write_derived_model(const Derivation& derivation);

}  // namespace sy
