// The cost file of a machine (configs/hardware/<name>.yaml): rates and latencies from which durations are modelled.
// Each figure there says whether it was measured or published, and where.
#pragma once

#include <string>

#include "csrc/core/fields.h"
#include "csrc/core/step_trace.h"

namespace sy {

struct Link {
  double latency_us = 0;
  double gb_per_s = 0;
};

struct Hardware {
  double bf16_tflops = 0, f32_tflops = 0, f64_tflops = 0;
  double memory_gb_per_s = 0;
  double launch_us = 0;
  int64_t ranks_per_node = 1;
  Link inside_node, between_nodes;
};

void describe(Hardware& hardware, Fields& fields);
// UserError names file and line, also where the file does not say how `num_ranks` ranks exchange.
Hardware load_hardware(const std::string& path, int64_t num_ranks = 1);

// A kernel is bound by its products or by its bytes, whichever takes longer, after its launch.
double kernel_seconds(const Hardware& hardware, const kernels::Work& work);

// Ranks other than this one that a transfer's bytes go to, equally many to each.
struct Peers {
  int64_t inside_node = 0, on_other_nodes = 0;
};
// Both links carry their part at the same time; each exchange has the latency of the slower link that it uses.
double transfer_seconds(const Hardware& hardware, const Transfer& transfer, const Peers& peers);

}  // namespace sy
