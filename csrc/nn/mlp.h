// Dense SwiGLU feed-forward:  y = W_down ( silu(W_gate x) * (W_up x) ).
#pragma once

#include "csrc/nn/parameter.h"
#include "csrc/ops/ops.h"

namespace sy::nn {

// Parameters: "<prefix>.gate_up_proj" [2F, D] (parts gate_proj, up_proj) and "<prefix>.down_proj.weight" [D, F].
class SwigluMlp {
 public:
  SwigluMlp(ParameterList& parameters, const std::string& prefix, int64_t hidden_size, int64_t intermediate_size,
            double initializer_range);
  Var forward(Context& ctx, const Var& x_TD) const;

 private:
  Parameter* gate_up_;
  Parameter* down_;
};

}  // namespace sy::nn
