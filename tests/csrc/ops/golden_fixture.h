// Fixture of the golden tests of ops: a context with a tape, run in one element type.
#pragma once

#include <deque>

#include "csrc/ops/ops.h"
#include "tests/golden/golden.h"

namespace sy {

class OpGolden : public ::testing::TestWithParam<DType> {
 protected:
  OpGolden() { ctx.tape = &tape; }

  DType type() const { return GetParam(); }
  DType accumulation() const { return accumulation_dtype(GetParam()); }

  Parameter& parameter(const Tensor& value) {
    Parameter& p = parameters.emplace_back();
    p.value = value;
    p.grad = ctx.zeros(value.shape(), accumulation_dtype(value.dtype()), MemoryKind::gradients);
    return p;
  }
  // Gradients of  sum(y * upstream)  to everything that y depends on.
  void backward(const Var& y, Tensor upstream) {
    y.set_grad(std::move(upstream));
    tape.backward();
  }
  void set_inv_tokens(double inv_loss_tokens, double inv_batch_tokens) {
    ctx.host_step_state.inv_loss_tokens = inv_loss_tokens;
    ctx.host_step_state.inv_batch_tokens = inv_batch_tokens;
    ctx.upload_step_state();
  }

  Context ctx{DeviceType::cpu};
  Tape tape;
  std::deque<Parameter> parameters;
};

inline std::string dtype_test_name(const ::testing::TestParamInfo<DType>& info) { return dtype_name(info.param); }

}  // namespace sy
