// `switchyard upcycle CONFIG.yaml`: an MoE checkpoint from dense ones. The recipe's method makes the MoE layers that
// its section `moe` asks for (csrc/upcycling/upcycling.h); every other tensor is the only input's, or the inputs'
// merged by the method that `merge` names (their mean); router state starts at zero.
#pragma once

#include "csrc/upcycling/upcycling.h"
#include "trainer/block_samples.h"
#include "trainer/derived_model.h"
#include "trainer/merged_model.h"

namespace sy {

struct UpcycleConfig {
  RecipeConfig recipe;
  Component<upcycling::Upcycling> method;
  SampleConfig samples;
  Component<merging::Merging> merge{"average"};
  std::string base;
  std::string hardware;
  MoeConfig moe;
};
void describe(UpcycleConfig& config, Fields& fields);
// All but the section moe, which a run has as well.
void describe_own_keys(UpcycleConfig& config, Fields& fields);

// Writes recipe.output, or throws and leaves nothing; prints a report.
DerivationReport upcycle(const UpcycleConfig& config);

int run_upcycle(int argc, char** argv, Comm& comm);

}  // namespace sy
