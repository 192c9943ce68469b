#include "csrc/nn/mlp.h"

#include "parallel/collective_ops.h"

namespace sy::nn {

SwigluMlp::SwigluMlp(ParameterList& parameters, const std::string& prefix, int64_t hidden, int64_t width,
                     double stddev) {
  const Context& ctx = parameters.context();
  const int64_t own = width / tp::ranks(ctx), begin = own * tp::rank(ctx);
  const InitSpec init{InitKind::kNormal, stddev};
  const Box rows{{begin, 0}, {own, hidden}};
  gate_up_ = &parameters.add(prefix + ".gate_up_proj", {2 * own, hidden}, init, Sharing::kTensorSharded);
  gate_up_->parts = {{prefix + ".gate_proj.weight", {width, hidden}, rows, 0},
                     {prefix + ".up_proj.weight", {width, hidden}, rows, own * hidden}};
  down_ = &parameters.add(prefix + ".down_proj.weight", {hidden, own}, init, Sharing::kTensorSharded);
  down_->parts = {{down_->name, {hidden, width}, {{0, begin}, {hidden, own}}, 0}};
}

Var SwigluMlp::forward(Context& ctx, const Var& x_TD) const {
  const Var h = ops::swiglu(ctx, ops::linear(ctx, tp::enter(ctx, x_TD), *gate_up_));
  return tp::leave(ctx, ops::linear(ctx, h, *down_));
}

}  // namespace sy::nn
