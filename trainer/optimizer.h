// AdamW over all parameters of a model: decay groups, gradient norm, clipping, the finite flag.
//
// Everything that varies per step (rate, clip coefficient, skip) is read from the device's StepState by the kernels.
#pragma once

#include "csrc/models/decoder.h"
#include "trainer/train_config.h"

namespace sy {

class Optimizer {
 public:
  // Makes the gradients, masters and moments of `decoder`'s parameters.
  Optimizer(Context& ctx, Decoder& decoder, const OptimizerConfig& config);

  // After backward and the reduction over ranks: the gradient norm, the clip coefficient and the finite flag are
  // formed on the device from the gradients and `loss` ([1] f64), then every parameter is updated unless the flag says
  // skip.
  void step(const Tensor& loss);

  // The parameter whose gradient was the first in the backward pass to be not finite, "" if none: for the message after
  // a skipped step.
  std::string first_bad_gradient();

  struct Moments {
    Parameter* parameter;
    Tensor m, v;
  };
  std::vector<Moments>& moments() { return moments_; }

 private:
  bool decays(const Parameter& p) const;

  Context& ctx_;
  ParameterList& parameters_;
  OptimizerConfig config_;
  std::vector<Moments> moments_;
  Tensor norm_total_, norm_partials_;
};

}  // namespace sy
