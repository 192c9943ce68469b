// One MoE layer by itself: its context, parameters and input, a scalar loss with its gradients, and Adam on it.
//
// The loss is  sum(y * upstream) + the layer's own losses,  so that backward needs no model around the layer. All
// values of the rig are f64 on the host, whatever the layer computes in.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "csrc/models/model_config.h"
#include "csrc/moe/layer.h"

namespace sy::test {

struct RigShape {
  int64_t sequences = 2, seq_length = 6, hidden = 6, vocab = 16;
  int64_t width_divisor = 16;  // of the config's expert widths
  double initializer_range = 0.5;
};

// The decisions of one forward pass, for comparison.
struct Decisions {
  std::vector<int32_t> token, demanded_expert, expert;
  std::vector<uint8_t> kept;  // empty: everything kept
  bool operator==(const Decisions&) const = default;
};

// Numbers that look random, the same on every machine: uniform in (-1, 1).
std::vector<double> scattered(int64_t count, uint64_t seed);

class LayerRig {
 public:
  LayerRig(const MoeConfig& moe, const RigShape& shape, DType dtype = DType::f64, DeviceType device = DeviceType::cpu,
           uint64_t seed = 11);

  struct Result {
    std::vector<double> y;
    double layer_losses = 0;  // sum of the sink
    Decisions decisions;
  };
  // Forward only, in training mode unless told otherwise. The step's counters and losses start from zero, or go on, as
  // for a second micro-batch of the step.
  Result forward(bool training = true, bool starts_step = true);
  // sum(y * upstream) + layer losses of a forward pass.
  double loss();
  // Forward and backward: parameter gradients stand in parameters().all(), the input's gradient is returned.
  std::vector<double> backward();
  // Forward, gradients of mean((y - target)^2) + layer losses, one Adam step, after_step. Returns the squared error.
  double train_step(const std::vector<double>& target, double learning_rate);
  // Ends an optimizer step without changing parameters: hooks move, counts become the previous step's.
  void end_step();

  void set_input(const std::vector<double>& x_TD) { write(x_, x_TD); }
  void set_token_ids(const std::vector<int32_t>& ids) { ctx_.copy_from_host(token_id_, ids.data()); }
  void set_parameter(const std::string& name, const std::vector<double>& values);
  void set_upstream(std::vector<double> upstream) { upstream_ = std::move(upstream); }
  const std::vector<double>& upstream() const { return upstream_; }
  int64_t tokens() const { return shape_.sequences * shape_.seq_length; }

  Context& ctx() { return ctx_; }
  moe::MoeLayer& layer() { return *layer_; }
  ParameterList& parameters() { return parameters_; }
  const Tensor& input() const { return x_; }
  // Counts of the last pass: assignments before capacity.
  std::vector<int64_t> demand() { return ctx_.to_host<int64_t>(layer_->stats().demand_E); }
  std::vector<int64_t> kept() { return ctx_.to_host<int64_t>(layer_->stats().kept_E); }
  std::vector<double> read(const Tensor& t);
  void write(const Tensor& t, const std::vector<double>& values);
  double sink_value(const std::string& name);

 private:
  moe::RouterInput router_input(bool requires_grad) const;
  void reset_step();
  Decisions take_decisions(class sy::Replay& replay);

  Context ctx_;
  ParameterList parameters_;
  RigShape shape_;
  std::unique_ptr<moe::MoeLayer> layer_;
  std::unique_ptr<LossSink> sink_;
  Tensor x_, token_id_, sample_id_;
  std::vector<double> upstream_;
  std::vector<Tensor> m_, v_;
};

// Fills the CPU allocator's free blocks with NaN (all bits set): what an op forgets to write is seen.
void poison_free_memory(Context& ctx);

}  // namespace sy::test
