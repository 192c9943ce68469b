// A step's events (csrc/core/step_trace.h) played again with modelled durations (trainer/hardware.h): how long the step
// takes, and what of its transfers computation has to wait for. Nothing of this is measured.
//
// Two engines: kernels run one after the other in their order; transfers run one after the other on one communication
// stream, each no sooner than computation has come to its start. A wait lasts until the transfer has arrived, which is
// not at all if it has. The step is played twice, because it begins with what the step before has sent: the second time
// counts. All ranks are taken to be where this one is: nobody waits for a slower rank.
#pragma once

#include <string>
#include <vector>

#include "csrc/core/step_trace.h"
#include "parallel/mesh.h"
#include "trainer/config.h"
#include "trainer/hardware.h"

namespace sy {

// All transfers of one kind.
struct ReplayedTransfers {
  std::string what;
  int64_t count = 0;
  double bytes = 0;  // that leave this rank
  double seconds = 0;
  double exposed_seconds = 0;  // waits of computation
  double longest_wait_seconds = 0;
  int64_t longest_wait_number = 0;  // of the transfer: the bucket, or the how manieth of its kind in the step
};

struct StepReplay {
  double step_seconds = 0;  // = compute_seconds + exposed_seconds
  double compute_seconds = 0, product_seconds = 0;
  double transfer_seconds = 0, exposed_seconds = 0;
  int64_t kernels = 0, products = 0;
  std::vector<ReplayedTransfers> transfers;  // by kind, in the order of their first start
};

// The events of rank 0 of a mesh.
StepReplay replay_step(const std::vector<StepEvent>& events, const Hardware& hardware, const MeshSizes& mesh = {},
                       int64_t kv_heads = 0);
// A dry run's trace (trainer/dry_run.h) of the same config and ranks, with the costs of a file.
StepReplay replay_step(const StepTrace& trace, const Config& config, int64_t num_ranks, const std::string& hardware);

}  // namespace sy
