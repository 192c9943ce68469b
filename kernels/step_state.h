// StepState: everything that varies from one optimizer step to the next, resident on the device.
//
// Kernels take a pointer to it and never one of its values by argument, so that a captured graph stays right.
// The host writes the first block before a step; kernels write the second block during it.
#pragma once

#include <cstdint>

namespace sy {

struct StepState {
  // Written by the host before the step.
  int64_t step;              // 1 for the first optimizer step
  int64_t consumed_samples;  // samples consumed before this step, over all ranks
  uint64_t seed;
  double learning_rate;
  double inv_loss_tokens;   // 1 / (number of target tokens in the global batch): divides the language-model loss
  double inv_batch_tokens;  // 1 / (number of tokens in the global batch): divides auxiliary losses
  // Written by kernels during the step.
  double grad_norm_squared;  // after the reduction over ranks
  double clip_coefficient;   // multiplies every gradient in the optimizer
  int32_t skip;              // 1 if the loss or a gradient was not finite: the optimizer leaves everything untouched
  int32_t stop_requested;    // number of ranks that received a stop signal
};

}  // namespace sy
