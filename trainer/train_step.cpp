#include "trainer/train_step.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "parallel/mesh.h"
#include "parallel/tracked_transfer.h"

namespace sy {

namespace {

// Sums over data-parallel ranks: of numbers that all tensor-parallel ranks of a micro-batch have alike.
template <class T>
void sum_over_micro_batches(const Context& ctx, std::span<T> values) {
  if (ctx.mesh != nullptr) all_reduce_sum_on_host(ctx, ctx.mesh->data(), values, "report");
}

}  // namespace

TrainStep::TrainStep(Context& ctx, Decoder& decoder, Optimizer& optimizer, int64_t seq_length)
    : ctx_(ctx),
      decoder_(decoder),
      optimizer_(optimizer),
      ranks_(ctx, decoder.parameters()),
      sink_(ctx),
      seq_length_(seq_length) {
  std::vector<Parameter*> all;
  for (Parameter& p : decoder.parameters().all()) all.push_back(&p);
  tape_.set_grad_ready([this](Parameter& p) { ranks_.gradient_ready(p); }, std::move(all));
}

StepReport TrainStep::run(int64_t step, double learning_rate, int64_t consumed_samples, int64_t num_waves,
                          const FillMicroBatch& fill, bool wants_stop) {
  if (ctx_.mesh != nullptr) ctx_.mesh->place().step = step;
  // 1. Batches, and the global denominators they imply: the only thing ranks must agree on before backward. They wait
  // on the host, so that the device holds one micro-batch however many there are.
  std::vector<BatchBuilder> batches(static_cast<std::size_t>(num_waves), BatchBuilder(seq_length_));
  int64_t sizes[2] = {0, 0};
  for (int64_t wave = 0; wave < num_waves; ++wave) {
    BatchBuilder& builder = batches[static_cast<std::size_t>(wave)];
    fill(wave, builder);
    sizes[0] += builder.num_targets();
    sizes[1] += builder.num_sequences() * seq_length_;
  }
  sum_over_micro_batches(ctx_, std::span<int64_t>(sizes));

  StepState& state = ctx_.host_step_state;
  state.step = step;
  state.consumed_samples = consumed_samples;
  state.learning_rate = learning_rate;
  state.inv_loss_tokens = 1.0 / static_cast<double>(std::max<int64_t>(1, sizes[0]));
  state.inv_batch_tokens = 1.0 / static_cast<double>(std::max<int64_t>(1, sizes[1]));
  state.skip = 0;
  ctx_.upload_step_state();

  // 2. Forward and backward, gradients and losses already divided by the denominators.
  ctx_.training = true;
  decoder_.parameters().zero_gradients();
  decoder_.reset_routing_stats();
  sink_.reset();
  for (std::size_t i = 0; i < batches.size(); ++i) forward_backward(batches[i].build(ctx_), i + 1 == batches.size());
  ctx_.training = false;

  // 3. Sums over ranks; then norm, finite flag and update on the device.
  StepReport report;
  report.target_tokens = sizes[0];
  report.batch_tokens = sizes[1];
  ranks_.finish_gradients();
  gather_report(report, wants_stop);
  const Tensor loss = ctx_.from_host<double>(std::vector<double>{report.lm_loss}, {1}, MemoryKind::data);
  optimizer_.step(loss);
  ranks_.gather_parameters();

  // 4. Router state moves once per step, from counts of the whole global batch.
  for (const auto& block : decoder_.moe_layers()) block.moe->after_step(ctx_);
  ctx_.download_step_state();
  report.grad_norm = std::sqrt(state.grad_norm_squared);
  report.skipped = state.skip != 0;
  return report;
}

void TrainStep::forward_backward(const Batch& batch, bool last) {
  tape_.set_last_micro_batch(last);
  ctx_.tape = &tape_;
  decoder_.forward_loss(batch, sink_);
  tape_.backward();
  ctx_.tape = nullptr;
}

namespace {

bool is_finite(Context& ctx, const Tensor& x) {
  return dispatch_float(x.dtype(), [&]<class T>() {
    for (const T value : ctx.to_host<T>(x))
      if (!std::isfinite(static_cast<double>(value))) return false;
    return true;
  });
}

}  // namespace

std::string TrainStep::first_not_finite(int64_t num_waves, const FillMicroBatch& fill) {
  int64_t first = std::numeric_limits<int64_t>::max();
  std::string name;
  ctx_.training = true;  // the same routing as in the step
  for (int64_t wave = 0; wave < num_waves; ++wave) {
    BatchBuilder builder(seq_length_);
    fill(wave, builder);
    int64_t place = 0;
    decoder_.observe(builder.build(ctx_), [&](const std::string& part, const Var& h) {
      if (place < first && !is_finite(ctx_, h.value())) {
        first = place;
        name = part;
      }
      ++place;
    });
  }
  ctx_.training = false;
  // The earliest part over all ranks, as "place name".
  std::string earliest;
  int64_t earliest_place = std::numeric_limits<int64_t>::max();
  if (ctx_.mesh == nullptr) return name;
  Comm& world = ctx_.mesh->world();
  for (const std::string& text : world.gather_strings(name.empty() ? "" : fmt::format("{} {}", first, name), 0)) {
    int64_t place = earliest_place;
    std::from_chars(text.data(), text.data() + text.size(), place);
    if (place >= earliest_place) continue;
    earliest_place = place;
    earliest = text.substr(text.find(' ') + 1);
  }
  return world.broadcast_string(earliest, 0);
}

void TrainStep::gather_report(StepReport& report, bool wants_stop) {
  const auto layers = decoder_.moe_layers();
  const std::size_t num_losses = sink_.names().size();
  std::vector<double> sums = ctx_.to_host<double>(sink_.totals());
  sums.resize(num_losses);
  sums.push_back(wants_stop ? 1.0 : 0.0);
  double dispatched = 0;
  for (const auto& block : layers) dispatched += static_cast<double>(block.moe->dispatched_bytes());
  sums.push_back(dispatched);
  std::vector<int64_t> kept;
  for (const auto& block : layers) {
    sums.push_back(ctx_.to_host<double>(block.moe->stats().entropy)[0]);
    const std::vector<int64_t> counts = ctx_.to_host<int64_t>(block.moe->stats().kept_E);
    kept.insert(kept.end(), counts.begin(), counts.end());
  }
  sum_over_micro_batches(ctx_, std::span<double>(sums));
  sum_over_micro_batches(ctx_, std::span<int64_t>(kept));
  // A stop signal may reach one tensor-parallel rank only, and each sends tokens of its own.
  if (ctx_.mesh != nullptr)
    all_reduce_sum_on_host(ctx_, ctx_.mesh->tensor(), std::span<double>(&sums[num_losses], 2), "report");

  for (std::size_t i = 0; i < num_losses; ++i) {
    if (sink_.names()[i] == "lm_loss") report.lm_loss = sums[i];
    else report.extra_losses.emplace_back(sink_.names()[i], sums[i]);
  }
  report.stop_requests = static_cast<int64_t>(sums[num_losses] + 0.5);
  report.dispatch_bytes = static_cast<int64_t>(sums[num_losses + 1] + 0.5);
  auto load = kept.begin();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    StepReport::MoeReport moe;
    const int64_t experts = layers[i].moe->num_experts();
    moe.layer = layers[i].layer;
    moe.entropy = sums[num_losses + 2 + i];
    moe.load.assign(load, load + experts);
    load += experts;
    int64_t total = 0, largest = 0, asked = 0;
    for (const int64_t n : moe.load) {
      total += n;
      largest = std::max(largest, n);
      moe.dead_experts += n == 0 ? 1 : 0;
    }
    for (const int64_t n : ctx_.to_host<int64_t>(layers[i].moe->stats().demand_E)) asked += n;
    const double mean = static_cast<double>(total) / static_cast<double>(experts);
    moe.max_vio = total == 0 ? 0.0 : (static_cast<double>(largest) - mean) / mean;
    moe.dropped_fraction = asked == 0 ? 0.0 : static_cast<double>(asked - total) / static_cast<double>(asked);
    report.moe.push_back(std::move(moe));
  }
}

}  // namespace sy
