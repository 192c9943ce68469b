#include "trainer/dry_run.h"

#include <algorithm>
#include <vector>

#include "trainer/layout.h"
#include "trainer/session.h"
#include "trainer/train_step.h"

namespace sy {

namespace {

ModelSize size_of(const Decoder& decoder, int64_t seq_length) {
  return {.total_parameters = decoder.total_parameters(),
          .active_parameters = decoder.active_parameters(),
          .training_flops_per_token = decoder.training_flops_per_token(seq_length)};
}

}  // namespace

ModelSize model_size(const Config& config) {
  Context ctx(DeviceType::meta);
  return size_of(Decoder(ctx, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)}),
                 config.train.seq_length);
}

DryRun dry_run(const Config& config, int64_t num_ranks, StepTrace* trace) {
  std::unique_ptr<Mesh> mesh;
  if (num_ranks > 0) mesh = Mesh::on_meta(mesh_sizes(config.parallel, num_ranks), config.model.kv_heads());
  Context ctx(DeviceType::meta);
  ctx.mesh = mesh.get();
  ctx.host_step_state.seed = static_cast<uint64_t>(config.train.seed);
  Decoder decoder(ctx, config.model, config.moe,
                  {.dtype = training_dtype(config.train.dtype),
                   .seed = static_cast<uint64_t>(config.train.seed),
                   .recompute = config.train.recompute == Recompute::kFull});
  decoder.parameters().make_training_buffers(config.parallel.ddp_bucket_size);
  Optimizer optimizer(ctx, decoder, config.optimizer);
  const int64_t seq_length = config.train.seq_length;
  TrainStep step(ctx, decoder, optimizer, seq_length);
  const std::vector<int32_t> zeros(static_cast<std::size_t>(seq_length), 0);
  const auto fill = [&](int64_t, BatchBuilder& builder) {
    for (int64_t i = 0; i < config.train.micro_batch_size; ++i)
      builder.add(zeros.data(), zeros.data(), zeros.data(), i);
  };
  const int64_t data_ranks = mesh ? mesh->data().size() : 1;
  const int64_t wave_samples = config.train.micro_batch_size * data_ranks;
  const int64_t waves = std::max<int64_t>(1, config.train.global_batch_size / wave_samples);
  // Two waves tell the memory: the second meets gradients that the first has left, as in a real step with accumulation.
  step.run(1, config.optimizer.lr, 0, std::min<int64_t>(waves, 2), fill);
  DryRun dry{.memory = ctx.allocator().use(),
             .model = model_size(config),
             .moe_layers = static_cast<int64_t>(decoder.moe_layers().size())};
  if (trace != nullptr) {
    ctx.trace = trace;
    step.run(2, config.optimizer.lr, config.train.global_batch_size, waves, fill);
  }
  return dry;
}

}  // namespace sy
