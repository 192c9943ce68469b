// One run of a few optimizer steps on some layout, and what of it must not depend on the layout: losses, gradient
// norms, every parameter's gradient in the first step, every parameter and the router state afterwards.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "csrc/moe/routing_log.h"
#include "trainer/batch.h"
#include "trainer/config.h"
#include "trainer/train_step.h"
#include "trainer/whole_tensors.h"

namespace sy {

struct LayoutRun {
  std::vector<StepReport> steps;
  NamedValues first_gradients, parameters;
  NamedValues router_state;  // what of it is floating-point
};

// Adds the sample of a global index to a micro-batch.
using AddSample = std::function<void(BatchBuilder& builder, int64_t sample)>;

// `config.parallel` over all ranks of `world`, from the initial weights or those of checkpoint.pretrained_checkpoint.
// With a log, assignments are recorded in it or replayed from it. Every rank calls, and gets everything.
LayoutRun run_layout(const Config& config, Comm& world, int64_t steps, const AddSample& add_sample,
                     moe::RoutingLog* log = nullptr);
// The config of the run on one rank that a layout is compared with.
Config one_rank_config(const Config& config);

// The largest relative difference of two runs, and where it is.
struct LayoutDifference {
  double loss = 0, grad_norm = 0;                 // largest over steps, relative
  double gradient = 0, parameter = 0, state = 0;  // norm of the difference by norm, largest over tensors
  std::string worst_gradient, worst_parameter, worst_state;
};
LayoutDifference compare(const LayoutRun& run, const LayoutRun& reference);

}  // namespace sy
