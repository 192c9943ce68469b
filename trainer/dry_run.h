// One training step on the meta device: every allocation is counted, nothing is computed. What `inspect` reports, and
// exact for any model size, because shapes are host-known bounds.
#pragma once

#include "csrc/core/allocator.h"
#include "csrc/core/step_trace.h"
#include "trainer/config.h"

namespace sy {

// A model by itself, whatever the ranks that share it.
struct ModelSize {
  int64_t total_parameters = 0, active_parameters = 0;
  double training_flops_per_token = 0;
};
ModelSize model_size(const Config& config);

struct DryRun {
  MemoryUse memory;  // live after, and peaks over, one whole step on rank 0; routing is even between expert ranks
  ModelSize model;
  int64_t moe_layers = 0;
};

// Rank 0 of the config's layout over `num_ranks` ranks (0: one rank that holds everything, whatever `parallel` says).
// `trace`, if given, gets the events of a whole second step: then all parameters of the first are on their way.
DryRun dry_run(const Config& config, int64_t num_ranks = 0, StepTrace* trace = nullptr);

}  // namespace sy
