// The gradient of the whole decoder against central differences in f64: embedding, attention with grouped heads and
// norms, dense and MoE layers, shared expert, tied head, every balance loss, on a batch with two documents and ignored
// targets. Routing stays as it is under steps of 1e-6: a difference across a flipped choice would not pass.
#include "csrc/autograd/gradcheck.h"

#include <gtest/gtest.h>

#include "tests/trainer/toy_run.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;

class DecoderGradcheck : public ::testing::TestWithParam<Overrides> {};

TEST_P(DecoderGradcheck, EveryParametersGradientIsTheSlopeOfTheLoss) {
  Overrides overrides = GetParam();
  overrides.insert(overrides.end(), {"train.dtype=f64", "train.micro_batch_size=3", "train.global_batch_size=3"});
  const Config config = toy_config(overrides);
  ToyRun toy(config);
  Context& ctx = toy.ctx();
  Decoder& decoder = toy.decoder();
  toy.curve(1, 2);  // away from the initial ones of the norms; fills the counts of the lagged balance loss

  // The step's denominators and random numbers stay those of step 2.
  BatchBuilder builder(config.train.seq_length);
  for (int64_t i = 0; i < 3; ++i) add_toy_sample(builder, config, 3 + i);
  const Batch batch = builder.build(ctx);
  LossSink sink(ctx);
  Tape tape;
  ctx.training = true;
  decoder.parameters().zero_gradients();
  decoder.reset_routing_stats();
  ctx.tape = &tape;
  decoder.forward_loss(batch, sink);
  tape.backward();
  ctx.tape = nullptr;

  const auto loss = [&] {
    sink.reset();
    decoder.reset_routing_stats();
    decoder.forward_loss(batch, sink);
    double total = 0;
    for (const double value : ctx.to_host<double>(sink.totals())) total += value;
    return total;
  };
  EXPECT_GT(loss(), 0.1);
  for (Parameter& p : decoder.parameters().all()) {
    double largest = 0;
    for (const double g : ctx.to_host<double>(p.grad)) largest = std::max(largest, std::abs(g));
    EXPECT_GT(largest, 1e-6) << p.name << " has no gradient";
    const GradcheckResult result = gradcheck({{p.name, p.value, p.grad}}, loss, 1e-5, 7);
    EXPECT_LT(result.worst_relative_error, 1e-6) << result.worst;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Configs, DecoderGradcheck,
    ::testing::Values(
        Overrides{"moe.balance=[{type: load_balancing, coefficient: 0.5}, {type: z_loss, coefficient: 0.1}, {type: "
                  "entropy, coefficient: 0.2}, {type: squared_cv, coefficient: 0.3}]"},
        Overrides{"moe.router={type: sigmoid_topk, routed_scaling_factor: 1.5}", "model.tie_word_embeddings=true",
                  "moe.balance=[{type: load_balancing, coefficient: 0.5, scope: sequence}]", "train.recompute=full",
                  "moe.hooks=[{type: selection_bias, update_rate: 0.05}]"},
        Overrides{"moe.router={type: switch_top1, jitter_eps: 0.3}", "moe.num_experts_per_tok=1",
                  "moe.balance=[{type: load_balancing, coefficient: 0.5, scope: global_batch_lagged}]",
                  "moe.capacity={type: position, factor: 1.0, overflow: identity}"},
        Overrides{"moe.router={type: softmax_topk, softmax: after}",
                  "moe.capacity={type: position, factor: 0.8, renormalise_after_drop: true}",
                  "moe.balance=[{type: load_balancing, coefficient: 0.5, scope: global_batch}]"},
        Overrides{"model.sliding_window=3", "model.qkv_bias=true", "moe=null"},
        Overrides{"moe.shared_expert_gate=true", "model.embedding_multiplier=3", "model.residual_multiplier=0.7",
                  "model.attention_multiplier=0.6", "model.logits_scaling=2.5", "model.tie_word_embeddings=true"},
        Overrides{"moe.router={type: expert_choice, group: sequence}", "moe.allow_batch_dependent_routing=true",
                  "model.use_qk_norm=false", "moe.shared_expert_intermediate_size=0"},
        Overrides{"model.qk_norm_scope=all_heads", "moe.router={type: softmax_topk, norm_topk_prob: false}"},
        Overrides{"moe.expert_intermediate_sizes=[16, 24, 16, 24, 16, 16]", "moe.moe_intermediate_size=null",
                  "moe.router={type: top_p}"}));

}  // namespace
}  // namespace sy::testing
