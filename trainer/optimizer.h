// AdamW over all parameters of a model: decay groups, gradient norm, clipping, the finite flag. A rank updates its
// share of every bucket (csrc/nn/parameter.h) and keeps moments for that alone.
//
// Everything that varies per step (rate, clip coefficient, skip) is read from the device's StepState by the kernels.
#pragma once

#include "csrc/models/decoder.h"
#include "trainer/train_config.h"

namespace sy {

class Optimizer {
 public:
  // Makes the training buffers of `decoder`'s parameters, where they are missing, and the moments.
  Optimizer(Context& ctx, Decoder& decoder, const OptimizerConfig& config);

  // After backward and the reduction over ranks: the global gradient norm, the clip coefficient and the finite flag are
  // formed from the gradients and `loss` ([1] f64), then this rank's shares are updated unless the flag says skip. All
  // ranks call.
  void step(const Tensor& loss);

  // The parameter whose gradient was the first in the backward pass to be not finite on any rank, "" if none: for the
  // message after a skipped step. All ranks call.
  std::string first_bad_gradient();

  // Of this rank's share of each bucket, in the order of ParameterList::buckets().
  struct Moments {
    Tensor m, v;
  };
  std::vector<Moments>& moments() { return moments_; }

 private:
  void form_norm();
  bool decays(const Parameter& p) const;

  Context& ctx_;
  ParameterList& parameters_;
  OptimizerConfig config_;
  std::vector<Moments> moments_;
  Tensor norm_total_, norm_partials_;
};

}  // namespace sy
