#include "trainer/layout_run.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/layout.h"
#include "trainer/sampler.h"
#include "trainer/session.h"
#include "trainer/weights_checkpoint.h"

namespace sy {

LayoutRun run_layout(const Config& config, Comm& world, int64_t steps, const AddSample& add_sample,
                     moe::RoutingLog* log) {
  const TrainConfig& t = config.train;
  const std::unique_ptr<Mesh> mesh = make_mesh(config, world);
  const std::unique_ptr<Context> ctx = make_context(config, *mesh);
  ctx->routing_log = log;
  Decoder decoder(*ctx, config.model, config.moe,
                  {.dtype = training_dtype(t.dtype),
                   .seed = static_cast<uint64_t>(t.seed),
                   .recompute = t.recompute == Recompute::kFull});
  decoder.parameters().make_training_buffers(config.parallel.ddp_bucket_size);
  decoder.parameters().initialise(static_cast<uint64_t>(t.seed));
  start_from_pretrained(*ctx, decoder, config);
  Optimizer optimizer(*ctx, decoder, config.optimizer);
  TrainStep step(*ctx, decoder, optimizer, t.seq_length);
  const Schedule schedule = make_schedule(config.optimizer, t);
  const Sampler sampler(t.micro_batch_size, t.global_batch_size, mesh->data().size(), mesh->data_rank());

  LayoutRun run;
  for (int64_t s = 1; s <= steps; ++s) {
    const int64_t consumed = (s - 1) * t.global_batch_size;
    run.steps.push_back(step.run(s, learning_rate(schedule, s - 1), consumed, sampler.num_waves(),
                                 [&](int64_t wave, BatchBuilder& builder) {
                                   const int64_t first = sampler.first_sample(consumed, sampler.micro_batch(wave));
                                   for (int64_t i = 0; i < t.micro_batch_size; ++i) add_sample(builder, first + i);
                                 }));
    if (s == 1) run.first_gradients = whole_gradients(*ctx, decoder);
  }
  run.parameters = whole_parameters(*ctx, decoder);
  for (const moe::StateTensor& state : decoder.state())
    if (state.tensor.dtype() == DType::f32 || state.tensor.dtype() == DType::f64)
      dispatch_accumulation(state.tensor.dtype(), [&]<class A>() {
        const std::vector<A> values = ctx->to_host<A>(state.tensor);
        run.router_state[state.name].assign(values.begin(), values.end());
      });
  return run;
}

Config one_rank_config(const Config& config) {
  Config one = config;
  one.parallel = {};
  return one;
}

namespace {

double relative(double a, double b) {
  if (a == b) return 0;
  const double scale = std::max(std::abs(a), std::abs(b));
  return std::isfinite(scale) ? std::abs(a - b) / scale : std::numeric_limits<double>::infinity();
}

// Norm of the difference by the norm of the reference, and the largest difference by its largest element: the greater.
double tensor_difference(const std::vector<double>& got, const std::vector<double>& want) {
  const double infinity = std::numeric_limits<double>::infinity();
  if (got.size() != want.size()) return infinity;
  double squares = 0, norm = 0, largest = 0, scale = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(got[i] - want[i]);
    if (!std::isfinite(d)) return infinity;
    squares += d * d;
    norm += want[i] * want[i];
    largest = std::max(largest, d);
    scale = std::max(scale, std::abs(want[i]));
  }
  if (largest == 0) return 0;
  if (scale == 0) return infinity;
  return std::max(std::sqrt(squares / norm), largest / scale);
}

void compare_tensors(const NamedValues& got, const NamedValues& want, double& worst, std::string& where) {
  for (const auto& [name, values] : want) {
    const auto found = got.find(name);
    const double d =
        found == got.end() ? std::numeric_limits<double>::infinity() : tensor_difference(found->second, values);
    if (where.empty() || d > worst) {
      worst = d;
      where = name;
    }
  }
}

}  // namespace

LayoutDifference compare(const LayoutRun& run, const LayoutRun& reference) {
  LayoutDifference out;
  SY_CHECK(run.steps.size() == reference.steps.size(), "runs of {} and {} steps", run.steps.size(),
           reference.steps.size());
  for (std::size_t s = 0; s < run.steps.size(); ++s) {
    const StepReport &a = run.steps[s], &b = reference.steps[s];
    out.loss = std::max(out.loss, relative(a.lm_loss, b.lm_loss));
    SY_CHECK(a.extra_losses.size() == b.extra_losses.size(), "{} and {} auxiliary losses", a.extra_losses.size(),
             b.extra_losses.size());
    for (std::size_t i = 0; i < a.extra_losses.size(); ++i)
      out.loss = std::max(out.loss, relative(a.extra_losses[i].second, b.extra_losses[i].second));
    out.grad_norm = std::max(out.grad_norm, relative(a.grad_norm, b.grad_norm));
  }
  compare_tensors(run.first_gradients, reference.first_gradients, out.gradient, out.worst_gradient);
  compare_tensors(run.parameters, reference.parameters, out.parameter, out.worst_parameter);
  compare_tensors(run.router_state, reference.router_state, out.state, out.worst_state);
  return out;
}

}  // namespace sy
