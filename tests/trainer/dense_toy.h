// For tests of commands that make models of dense models: small dense runs on the disk, and what models compute.
#pragma once

#include <string>
#include <vector>

#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"
#include "trainer/batch.h"
#include "trainer/checkpointing.h"
#include "trainer/recipe.h"
#include "trainer/weights_checkpoint.h"

namespace sy::testing {

// toy_config() without experts; 48 neurons, which 2, 3, 4 and 6 divide.
inline Config dense_toy_config(std::vector<std::string> overrides = {}) {
  const std::vector<std::string> dense = {"moe.num_experts=0",
                                          "moe.num_experts_per_tok=null",
                                          "moe.moe_intermediate_size=null",
                                          "moe.first_k_dense_replace=null",
                                          "moe.shared_expert_intermediate_size=null",
                                          "model.intermediate_size=48"};
  overrides.insert(overrides.begin(), dense.begin(), dense.end());
  return toy_config(overrides);
}

// Writes the run's state as a checkpoint of step 3 and returns the run folder.
inline std::string save_run(ToyRun& toy, const std::string& folder) {
  CheckpointState state;
  state.step = 3;
  state.config_text = print_config(toy.config());
  save_checkpoint(toy.ctx(), toy.decoder(), toy.optimizer(), folder + "/checkpoints", state, 0);
  return folder;
}

// The model of a derived folder, as a run that starts from it has it.
inline std::unique_ptr<ToyRun> run_from(const std::string& folder) {
  auto run = std::make_unique<ToyRun>(load_config(folder + "/config.yaml", {}));
  load_pretrained(run->ctx(), run->decoder(), run->config(), CheckpointReader(resolve_checkpoint(folder)));
  return run;
}

// Of two short sequences.
inline std::vector<double> logits_of(ToyRun& toy) {
  const int64_t length = 12;
  BatchBuilder builder(length);
  for (int64_t s = 0; s < 2; ++s) {
    std::vector<int32_t> tokens, zeros(12, 0), ignored(12, -1);
    for (int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>((7 * i + 11 * s + i * i) % 37));
    builder.add(tokens.data(), ignored.data(), zeros.data(), s);
  }
  return widened(toy.ctx(), toy.decoder().logits(builder.build(toy.ctx())));
}

template <class Recipe>
Recipe recipe_of(const std::string& yaml) {
  Recipe recipe;
  read_fields(YamlDocument::from_text(yaml, "recipe.yaml"), "", [&](Fields& f) { describe(recipe, f); });
  return recipe;
}

}  // namespace sy::testing
