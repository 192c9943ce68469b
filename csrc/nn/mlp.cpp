#include "csrc/nn/mlp.h"

namespace sy::nn {

SwigluMlp::SwigluMlp(ParameterList& parameters, const std::string& prefix, int64_t hidden, int64_t width, double stddev) {
  gate_up_ = &parameters.add(prefix + ".gate_up_proj", {2 * width, hidden}, {InitKind::kNormal, stddev});
  gate_up_->parts = {{prefix + ".gate_proj.weight", -1, 0, width, {width, hidden}},
                     {prefix + ".up_proj.weight", -1, width, width, {width, hidden}}};
  down_ = &parameters.add(prefix + ".down_proj.weight", {hidden, width}, {InitKind::kNormal, stddev});
}

Var SwigluMlp::forward(Context& ctx, const Var& x_TD) const {
  return ops::linear(ctx, ops::swiglu(ctx, ops::linear(ctx, x_TD, *gate_up_)), *down_);
}

}  // namespace sy::nn
