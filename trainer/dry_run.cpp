#include "trainer/dry_run.h"

#include <vector>

#include "trainer/session.h"
#include "trainer/train_step.h"

namespace sy {

DryRun dry_run(const Config& config) {
  Context ctx(DeviceType::meta);
  ctx.host_step_state.seed = static_cast<uint64_t>(config.train.seed);
  const auto comm = make_single_comm();
  Decoder decoder(ctx, config.model, config.moe,
                  {.dtype = training_dtype(config.train.dtype),
                   .seed = static_cast<uint64_t>(config.train.seed),
                   .recompute = config.train.recompute == Recompute::kFull});
  decoder.parameters().make_masters();
  Optimizer optimizer(ctx, decoder, config.optimizer);
  const int64_t seq_length = config.train.seq_length;
  TrainStep step(ctx, decoder, optimizer, *comm, seq_length);
  const std::vector<int32_t> zeros(static_cast<std::size_t>(seq_length), 0);
  // Two waves: the second meets gradients that the first has left, as in a real step with accumulation.
  const int64_t waves = config.train.global_batch_size > config.train.micro_batch_size ? 2 : 1;
  step.run(1, config.optimizer.lr, 0, waves, [&](int64_t, BatchBuilder& builder) {
    for (int64_t i = 0; i < config.train.micro_batch_size; ++i) builder.add(zeros.data(), zeros.data(), zeros.data(), i);
  });
  return {.memory = ctx.allocator().use(),
          .total_parameters = decoder.total_parameters(),
          .active_parameters = decoder.active_parameters(),
          .training_flops_per_token = decoder.training_flops_per_token(seq_length),
          .moe_layers = static_cast<int64_t>(decoder.moe_layers().size())};
}

}  // namespace sy
