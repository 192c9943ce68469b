// `switchyard merge CONFIG.yaml`: one checkpoint from several of one architecture, tensor by tensor
// (csrc/merging/merging.h).
#pragma once

#include "trainer/derived_model.h"
#include "trainer/merged_model.h"

namespace sy {

struct MergeConfig {
  RecipeConfig recipe;
  std::string base;
  SampleConfig samples;
  Component<merging::Merging> method;
};
void describe(MergeConfig& config, Fields& fields);

// Writes recipe.output, or throws and leaves nothing; prints a report.
DerivationReport merge(const MergeConfig& config);

int run_merge(int argc, char** argv, Comm& comm);

}  // namespace sy
