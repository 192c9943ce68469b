// Whole training steps with device.type: cuda (a GPU, or simulated CUDA) against the CPU backend.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#if defined(SY_CUDA_SIM)
#include "tests/cuda_sim/executor.h"
#endif
#include "tests/trainer/toy_run.h"
#include "trainer/config.h"
#include "trainer/layout_run.h"
#include "trainer/session.h"
#include "trainer/train_step.h"

namespace sy {
namespace {

constexpr const char* kConfig = R"(
model: {vocab_size: 61, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2,
        intermediate_size: 48, qkv_bias: true, use_qk_norm: true, max_position_embeddings: 64, sliding_window: 5,
        embedding_multiplier: 3, residual_multiplier: 0.7, attention_multiplier: 0.4, logits_scaling: 2, pad_vocab_size_to: 8}
moe: {num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 24, shared_expert_intermediate_size: 16,
      shared_expert_gate: true, first_k_dense_replace: 1, router: {type: sigmoid_topk, routed_scaling_factor: 1.5},
      balance: [{type: load_balancing, coefficient: 0.01, scope: sequence}, {type: z_loss}], hooks: [{type: selection_bias}]}
data: {train_data_path: [unused]}
train: {train_iters: 3, micro_batch_size: 2, global_batch_size: 4, seq_length: 12}
optimizer: {lr: 0.01, lr_decay_style: constant}
)";

struct Trained {
  std::vector<double> losses, norms;
};

Trained train(const std::string& device, const std::vector<std::string>& overrides, bool count_syncs) {
  std::vector<std::string> all = overrides;
  all.push_back("device.type=" + device);
  const Config config = parse_config(kConfig, "test", all);
  const auto comm = make_single_comm();
  Mesh mesh(*comm, {});
  const auto ctx = make_context(config, mesh);
  Decoder decoder(*ctx, config.model, config.moe,
                  {.dtype = training_dtype(config.train.dtype),
                   .seed = 7,
                   .recompute = config.train.recompute == Recompute::kFull});
  decoder.parameters().make_training_buffers();
  decoder.parameters().initialise(7);
  Optimizer optimizer(*ctx, decoder, config.optimizer);
  TrainStep step(*ctx, decoder, optimizer, config.train.seq_length);
  Trained result;
  for (int64_t s = 1; s <= 3; ++s) {
    const StepReport report = step.run(s, 0.01, 0, 2, [&](int64_t wave, BatchBuilder& builder) {
      for (int64_t row = 0; row < 2; ++row) {
        std::vector<int32_t> tokens(13), start(12, 0);
        for (std::size_t i = 0; i < tokens.size(); ++i)
          tokens[i] = static_cast<int32_t>((wave * 31 + row * 17 + static_cast<int64_t>(i * i)) % 61);
        builder.add(tokens.data(), tokens.data() + 1, start.data(), wave * 2 + row);
      }
    });
    result.losses.push_back(report.lm_loss);
    result.norms.push_back(report.grad_norm);
  }
#if defined(SY_CUDA_SIM)
  if (count_syncs) {
    BatchBuilder builder(12);
    const std::vector<int32_t> tokens(12, 3), start(12, 0);
    builder.add(tokens.data(), tokens.data(), start.data(), 0);
    const Batch batch = builder.build(*ctx);
    LossSink sink(*ctx);
    Tape tape;
    ctx->tape = &tape;
    ctx->training = true;
    cuda_sim::reset_counters();
    decoder.forward_loss(batch, sink);
    tape.backward();
    EXPECT_EQ(cuda_sim::counters().host_syncs, 0) << "forward or backward waited for the device";
    ctx->synchronize();
    EXPECT_EQ(cuda_sim::counters().float_atomics, 0);
    EXPECT_GT(cuda_sim::counters().launches, 50);
    ctx->tape = nullptr;
  }
#else
  (void)count_syncs;
#endif
  return result;
}

void expect_close(const Trained& cuda, const Trained& cpu, double tolerance) {
  for (std::size_t i = 0; i < cpu.losses.size(); ++i) {
    EXPECT_NEAR(cuda.losses[i], cpu.losses[i], tolerance * cpu.losses[i]) << "step " << i + 1;
    EXPECT_NEAR(cuda.norms[i], cpu.norms[i], 10 * tolerance * cpu.norms[i]) << "step " << i + 1;
  }
}

TEST(TrainCuda, F32StepsEqualTheCpuAndNeverWaitInsideForwardOrBackward) {
  expect_close(train("cuda", {}, true), train("cpu", {}, false), 1e-5);
}

// The toy model through every decision of one CPU run, with the assignments of `log`.
LayoutRun toy_run(const std::string& device, moe::RoutingLog& log, int64_t steps) {
  const Config config =
      testing::toy_config({"device.type=" + device, "train.global_batch_size=4", "train.seq_length=8"});
  const auto comm = make_single_comm();
  return run_layout(
      config, *comm, steps,
      [&](BatchBuilder& builder, int64_t sample) { testing::add_toy_sample(builder, config, sample); }, &log);
}

TEST(TrainCuda, ToyRunEqualsTheCpuWithItsAssignmentsReplayed) {
  moe::RoutingLog log;
  const LayoutRun cpu = toy_run("cpu", log, 4);
  log.set_mode(moe::RoutingLog::Mode::kReplay);
  const LayoutRun cuda = toy_run("cuda", log, 4);
  const LayoutDifference d = compare(cuda, cpu);
  EXPECT_LE(d.loss, 1e-5);
  EXPECT_LE(d.gradient, 1e-5) << d.worst_gradient;
  EXPECT_LE(log.largest_gap(), 1e-5) << log.differing() << " of " << log.assignments() << " assignments differ";
  EXPECT_GT(log.assignments(), 0);
}

LayoutRun recorded_toy_run() {
  moe::RoutingLog log;
  return toy_run("cuda", log, 2);
}

void expect_same_bits(const LayoutRun& a, const LayoutRun& b) {
  for (std::size_t s = 0; s < a.steps.size(); ++s) {
    EXPECT_EQ(a.steps[s].lm_loss, b.steps[s].lm_loss);
    EXPECT_EQ(a.steps[s].grad_norm, b.steps[s].grad_norm);
  }
  EXPECT_TRUE(a.first_gradients == b.first_gradients);
  EXPECT_TRUE(a.parameters == b.parameters);
}

TEST(TrainCuda, RepeatsToTheBit) { expect_same_bits(recorded_toy_run(), recorded_toy_run()); }

#if defined(SY_CUDA_SIM)
TEST(TrainCuda, EveryOrderOfStreamsAndThreadsGivesTheSameBits) {
  const uint64_t before = cuda_sim::schedule_seed();
  cuda_sim::set_schedule_seed(0);
  const LayoutRun plain = recorded_toy_run();
  for (const uint64_t seed : {1, 2, 12345}) {
    SCOPED_TRACE(seed);
    cuda_sim::set_schedule_seed(seed);
    expect_same_bits(recorded_toy_run(), plain);
  }
  cuda_sim::set_schedule_seed(before);
}
#endif

TEST(TrainCuda, RecomputationChangesNoBit) {
  const Trained a = train("cuda", {}, false), b = train("cuda", {"train.recompute=full"}, false);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.norms, b.norms);
}

// bf16 rounds every activation to 8 bits (2^-9 relative each); a loss averages the errors of 48 tokens.
TEST(TrainCuda, Bf16StepsAreCloseToTheCpu) {
  expect_close(train("cuda", {"train.dtype=bf16"}, false), train("cpu", {"train.dtype=bf16"}, false), 4e-3);
}

}  // namespace
}  // namespace sy
