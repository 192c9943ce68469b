#include "tests/conformance/layer_rig.h"

#include <cstring>

#include "csrc/autograd/checkpoint.h"
#include "csrc/core/launch.h"
#include "kernels/optim/adamw.h"
#include "kernels/philox.h"
#include "tests/csrc/models/part_values.h"

namespace sy::test {

std::vector<double> scattered(int64_t count, uint64_t seed) {
  const Philox stream = Philox::keyed(seed, 1, 2, 3, RngPurpose::kInit);
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 2 * stream.uniform(i) - 1;
  return values;
}

LayerRig::LayerRig(const MoeConfig& moe, const RigShape& shape, DType dtype, DeviceType device, uint64_t seed)
    : ctx_(device), parameters_(ctx_, dtype), shape_(shape) {
  StepState& state = ctx_.host_step_state;
  state.seed = seed;
  state.step = 1;
  state.inv_loss_tokens = state.inv_batch_tokens = 1.0 / static_cast<double>(tokens());
  state.clip_coefficient = 1;
  ctx_.upload_step_state();

  moe::MoeLayerPlan plan;
  for (int64_t e = 0; e < moe.num_experts; ++e)
    plan.expert_intermediate_sizes.push_back(moe.expert_intermediate_size(e) / shape.width_divisor);
  plan.num_experts_per_tok = moe.num_experts_per_tok;
  plan.shared_expert_intermediate_size = moe.shared_expert_intermediate_size / shape.width_divisor;
  layer_ = std::make_unique<moe::MoeLayer>(moe.methods, plan,
                                           moe::LayerBuild{.parameters = &parameters_,
                                                           .prefix = "mlp",
                                                           .layer = 0,
                                                           .hidden_size = shape.hidden,
                                                           .vocab_size = shape.vocab,
                                                           .initializer_range = shape.initializer_range,
                                                           .seed = seed});
  parameters_.make_training_buffers();
  parameters_.initialise(seed);
  sink_ = std::make_unique<LossSink>(ctx_);

  const int64_t count = tokens() * shape.hidden;
  x_ = ctx_.empty({tokens(), shape.hidden}, dtype, MemoryKind::data);
  set_input(scattered(count, 5));
  upstream_ = scattered(count, 6);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < tokens(); ++t) ids.push_back(static_cast<int32_t>((t * 7 + t / 3) % shape.vocab));
  token_id_ = ctx_.from_host<int32_t>(ids, {tokens()}, MemoryKind::data);
  std::vector<int64_t> samples;
  for (int64_t s = 0; s < shape.sequences; ++s) samples.push_back(100 + s);
  sample_id_ = ctx_.from_host<int64_t>(samples, {shape.sequences}, MemoryKind::data);
}

std::vector<double> LayerRig::read(const Tensor& t) {
  return dispatch_float(t.dtype(), [&]<class T>() {
    const std::vector<T> values = ctx_.to_host<T>(t);
    return std::vector<double>(values.begin(), values.end());
  });
}

void LayerRig::write(const Tensor& t, const std::vector<double>& values) {
  SY_CHECK(t.count() == static_cast<int64_t>(values.size()), "{} values for {}", values.size(),
           shape_string(t.shape()));
  dispatch_float(t.dtype(), [&]<class T>() {
    std::vector<T> typed;
    for (const double v : values) typed.push_back(T(static_cast<Acc<T>>(v)));
    ctx_.copy_from_host(t, typed.data());
  });
}

void LayerRig::set_parameter(const std::string& name, const std::vector<double>& values) {
  Parameter* p = parameters_.find(name);
  SY_CHECK(p != nullptr, "no parameter '{}'", name);
  write(p->value, values);
}

moe::RouterInput LayerRig::router_input(bool requires_grad) const {
  return {.x_TD = Var(x_, requires_grad),
          .token_id_T = token_id_,
          .sample_id_B = sample_id_,
          .sequences = shape_.sequences,
          .seq_length = shape_.seq_length,
          .layer = 0};
}

void LayerRig::reset_step() {
  ctx_.set_zero(layer_->stats().demand_E);
  ctx_.set_zero(layer_->stats().kept_E);
  ctx_.set_zero(layer_->stats().entropy);
  sink_->reset();
}

Decisions LayerRig::take_decisions(Replay& replay) {
  const std::vector<Tensor> saved = replay.next();
  Decisions d{ctx_.to_host<int32_t>(saved[0]), ctx_.to_host<int32_t>(saved[1]), ctx_.to_host<int32_t>(saved[2]), {}};
  if (saved[3].defined()) d.kept = ctx_.to_host<uint8_t>(saved[3]);
  return d;
}

LayerRig::Result LayerRig::forward(bool training, bool starts_step) {
  if (starts_step) reset_step();
  Replay replay;
  ctx_.training = training;
  ctx_.replay = &replay;
  const moe::RouterInput input = router_input(false);
  const Var y = layer_->forward(ctx_, input, *sink_);
  ctx_.replay = nullptr;
  ctx_.training = false;
  Result result{read(y.value()), 0, take_decisions(replay)};
  for (const double loss : ctx_.to_host<double>(sink_->totals())) result.layer_losses += loss;
  return result;
}

double LayerRig::loss() {
  const Result result = forward();
  double sum = result.layer_losses;
  for (std::size_t i = 0; i < result.y.size(); ++i) sum += result.y[i] * upstream_[i];
  return sum;
}

std::vector<double> LayerRig::backward() {
  reset_step();
  parameters_.zero_gradients();
  Tape tape;
  ctx_.training = true;
  ctx_.tape = &tape;
  const moe::RouterInput input = router_input(true);
  const Var y = layer_->forward(ctx_, input, *sink_);
  const Tensor dy = ctx_.empty(y.shape(), y.dtype());
  write(dy, upstream_);
  y.add_grad(ctx_, dy);
  tape.backward();
  ctx_.tape = nullptr;
  ctx_.training = false;
  return input.x_TD.grad().defined() ? read(input.x_TD.grad())
                                     : std::vector<double>(static_cast<std::size_t>(x_.count()), 0.0);
}

double LayerRig::train_step(const std::vector<double>& target, double learning_rate) {
  if (m_.empty())
    for (const Parameter& p : parameters_.all()) {
      m_.push_back(ctx_.zeros(p.grad.shape(), p.grad.dtype(), MemoryKind::optimizer));
      v_.push_back(ctx_.zeros(p.grad.shape(), p.grad.dtype(), MemoryKind::optimizer));
    }
  const Result result = forward();
  double error = 0;
  const double scale = 1.0 / static_cast<double>(target.size());
  for (std::size_t i = 0; i < target.size(); ++i) {
    const double difference = result.y[i] - target[i];
    error += scale * difference * difference;
    upstream_[i] = 2 * scale * difference;
  }
  backward();
  ctx_.host_step_state.learning_rate = learning_rate;
  ctx_.upload_step_state();
  std::size_t i = 0;
  for (Parameter& p : parameters_.all()) {
    dispatch_float(p.value.dtype(), [&]<class T>() {
      SY_LAUNCH(ctx_, adamw,
                (kernels::AdamW<T>{.grad = p.grad.data<Acc<T>>(),
                                   .master = testing::exact_values(p).data<Acc<T>>(),
                                   .m = m_[i].data<Acc<T>>(),
                                   .v = v_[i].data<Acc<T>>(),
                                   .weight = p.value.data<T>(),
                                   .state = ctx_.step_state(),
                                   .count = p.value.count(),
                                   .beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .epsilon = 1e-8}));
    });
    ++i;
  }
  end_step();
  return error;
}

void LayerRig::end_step() {
  layer_->after_step(ctx_);
  ++ctx_.host_step_state.step;
  ctx_.upload_step_state();
}

double LayerRig::sink_value(const std::string& name) {
  for (std::size_t i = 0; i < sink_->names().size(); ++i)
    if (sink_->names()[i] == name) return ctx_.to_host<double>(sink_->totals())[i];
  SY_CHECK(false, "no loss '{}'", name);
}

void poison_free_memory(Context& ctx) {
  if (ctx.device() != DeviceType::cpu) return;
  std::vector<Tensor> blocks;
  for (int64_t bytes = 64; bytes <= (int64_t{1} << 18); bytes += bytes < 8192 ? 64 : bytes / 8 / 64 * 64)
    for (int copy = 0; copy < 4; ++copy) {
      blocks.push_back(ctx.empty({bytes}, DType::u8));
      std::memset(blocks.back().raw(), 0xff, static_cast<std::size_t>(bytes));
    }
}

}  // namespace sy::test
