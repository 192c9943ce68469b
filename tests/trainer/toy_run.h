// For tests of whole training runs: a small MoE decoder with its context, optimizer and step, trained on samples that
// are a function of their global index. Some samples hold two documents and some targets are left out, unevenly, so
// that micro-batches and ranks differ in their number of targets.
#pragma once

#include <string>
#include <vector>

#include "csrc/models/decoder.h"
#include "tests/csrc/models/part_values.h"
#include "trainer/config.h"
#include "trainer/layout.h"
#include "trainer/sampler.h"
#include "trainer/session.h"
#include "trainer/train_step.h"

namespace sy::testing {

// Three layers, the first dense; 6 experts, top-2, a shared expert, grouped-query attention with norms, vocabulary rows
// padded. Overrides as on the command line.
inline Config toy_config(const std::vector<std::string>& overrides = {}, int64_t num_ranks = 1) {
  const std::string text = R"(
model:
  vocab_size: 37
  hidden_size: 32
  intermediate_size: 40
  num_hidden_layers: 3
  num_attention_heads: 4
  num_key_value_heads: 2
  max_position_embeddings: 512
  use_qk_norm: true
  initializer_range: 0.2
  pad_vocab_size_to: 16
moe:
  num_experts: 6
  num_experts_per_tok: 2
  moe_intermediate_size: 16
  shared_expert_intermediate_size: 24
  first_k_dense_replace: 1
train:
  train_iters: 20
  micro_batch_size: 2
  global_batch_size: 8
  seq_length: 12
optimizer:
  lr: 0.01
  lr_decay_style: constant
  lr_warmup_iters: 2
)";
  return parse_config(text, "toy.yaml", overrides, num_ranks);
}

// Sample `index`: a noisy walk over the vocabulary. No token follows itself and no two documents of a sample begin with
// the same one: such tokens have equal hidden states but for rounding, and routing that compares tokens would break the
// tie by whatever reorders a sum.
inline void add_toy_sample(BatchBuilder& builder, const Config& config, int64_t index) {
  const int64_t length = config.train.seq_length, vocab = config.model.vocab_size;
  std::vector<int32_t> tokens, start(static_cast<std::size_t>(length), 0);
  uint64_t state = static_cast<uint64_t>(index) * 0x9e3779b97f4a7c15ull + 12345;
  int64_t token = index % vocab;
  for (int64_t i = 0; i <= length; ++i) {
    tokens.push_back(static_cast<int32_t>(token));
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const int64_t next = (token * 3 + 1 + static_cast<int64_t>((state >> 40) % 3)) % vocab;
    token = next != token ? next : (next + 1) % vocab;
  }
  std::vector<int32_t> targets(tokens.begin() + 1, tokens.end());
  const auto middle = static_cast<std::size_t>(length / 2);
  if (index % 3 == 1 && tokens[middle] != tokens[0])  // a second document begins in the middle
    std::fill(start.begin() + static_cast<std::ptrdiff_t>(middle), start.end(), static_cast<int32_t>(middle));
  for (int64_t i = 0; i < index % 5 && i < length; ++i) targets[static_cast<std::size_t>(i)] = -1;
  builder.add(tokens.data(), targets.data(), start.data(), index);
}

class ToyRun {
 public:
  explicit ToyRun(const Config& config, Comm* comm = nullptr)
      : config_(config),
        own_comm_(make_single_comm()),
        comm_(comm != nullptr ? *comm : *own_comm_),
        mesh_(make_mesh(config, comm_)),
        ctx_(make_context(config, *mesh_)),
        decoder_(*ctx_, config.model, config.moe,
                 {.dtype = training_dtype(config.train.dtype),
                  .seed = static_cast<uint64_t>(config.train.seed),
                  .recompute = config.train.recompute == Recompute::kFull}),
        optimizer_(with_masters(), decoder_, config.optimizer),
        step_(*ctx_, decoder_, optimizer_, config.train.seq_length),
        schedule_(make_schedule(config.optimizer, config.train)),
        sampler_(config.train.micro_batch_size, config.train.global_batch_size, mesh_->data().size(),
                 mesh_->data_rank()) {}

  // Optimizer step `number`, counted from 1.
  StepReport step(int64_t number, bool wants_stop = false) {
    const int64_t consumed = (number - 1) * config_.train.global_batch_size;
    return step_.run(
        number, learning_rate(schedule_, number - 1), consumed, sampler_.num_waves(),
        [&](int64_t wave, BatchBuilder& builder) {
          const int64_t first = sampler_.first_sample(consumed, sampler_.micro_batch(wave));
          for (int64_t i = 0; i < sampler_.micro_batch_size(); ++i) add_toy_sample(builder, config_, first + i);
        },
        wants_stop);
  }
  // Per step of [first, last]: the language-model loss, the other losses in their order, the gradient norm.
  std::vector<double> curve(int64_t first, int64_t last) {
    std::vector<double> values;
    for (int64_t s = first; s <= last; ++s) {
      const StepReport report = step(s);
      values.push_back(report.lm_loss);
      for (const auto& extra : report.extra_losses) values.push_back(extra.second);
      values.push_back(report.grad_norm);
    }
    return values;
  }
  NamedValues parameters() { return parameter_values(*ctx_, decoder_); }
  NamedValues gradients() { return gradient_values(*ctx_, decoder_); }
  // Router state that is floating-point (selection biases).
  NamedValues router_state() {
    NamedValues out;
    for (const moe::StateTensor& s : decoder_.state())
      if (s.tensor.dtype() == DType::f32 || s.tensor.dtype() == DType::f64) out[s.name] = widened(*ctx_, s.tensor);
    return out;
  }

  Context& ctx() { return *ctx_; }
  Decoder& decoder() { return decoder_; }
  Optimizer& optimizer() { return optimizer_; }
  Comm& comm() { return comm_; }
  const Config& config() const { return config_; }

 private:
  // Masters stand before the moments, and before the values are drawn, as in a real run.
  Context& with_masters() {
    decoder_.parameters().make_training_buffers(config_.parallel.ddp_bucket_size);
    decoder_.parameters().initialise(static_cast<uint64_t>(config_.train.seed));
    return *ctx_;
  }

  Config config_;
  std::unique_ptr<Comm> own_comm_;
  Comm& comm_;
  std::unique_ptr<Mesh> mesh_;
  std::unique_ptr<Context> ctx_;
  Decoder decoder_;
  Optimizer optimizer_;
  TrainStep step_;
  Schedule schedule_;
  Sampler sampler_;
};

}  // namespace sy::testing
