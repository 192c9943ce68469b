// A weight that is not a number: the skipped step is traced to the part of the model where it began.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/csrc/models/part_values.h"
#include "trainer/config.h"
#include "trainer/session.h"
#include "trainer/train_step.h"

namespace sy {
namespace {

constexpr int64_t kSequence = 16;

Config tiny(const std::string& dtype, const std::string& recompute) {
  return parse_config(R"(
model: {vocab_size: 50, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 3, num_attention_heads: 2, max_position_embeddings: 16}
moe: {num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 8, first_k_dense_replace: 1}
train: {train_iters: 4, micro_batch_size: 2, global_batch_size: 4, seq_length: 16}
optimizer: {lr: 0.01, clip_grad: 0}
)",
                      "tiny.yaml", {"train.dtype=" + dtype, "train.recompute=" + recompute});
}

// A model with two waves of fixed tokens, one of whose weights can be poisoned.
struct Model {
  explicit Model(const std::string& dtype = "f32", const std::string& recompute = "none")
      : config(tiny(dtype, recompute)),
        ctx(DeviceType::cpu),
        decoder(
            ctx, config.model, config.moe,
            {.dtype = training_dtype(config.train.dtype), .recompute = config.train.recompute == Recompute::kFull}) {
    decoder.parameters().make_training_buffers();
    decoder.parameters().initialise(1);
    optimizer = std::make_unique<Optimizer>(ctx, decoder, config.optimizer);
    step = std::make_unique<TrainStep>(ctx, decoder, *optimizer, kSequence);
  }

  // Sets the last element of a parameter.
  void set_last(const std::string& name, double value) {
    Parameter* p = decoder.parameters().find(name);
    ASSERT_NE(p, nullptr) << name;
    dispatch_accumulation(testing::exact_values(*p).dtype(), [&]<class A>() {
      std::vector<A> values = ctx.to_host<A>(testing::exact_values(*p));
      values.back() = static_cast<A>(value);
      decoder.parameters().set_exact(*p, values.data());
    });
  }

  static void fill(int64_t wave, BatchBuilder& builder) {
    std::vector<int32_t> tokens(kSequence), targets(kSequence), start(kSequence, 0);
    for (int64_t row = 0; row < 2; ++row) {
      for (int64_t i = 0; i < kSequence; ++i) {
        tokens[static_cast<std::size_t>(i)] = static_cast<int32_t>((7 * i + 3 * row + 5 * wave) % 50);
        targets[static_cast<std::size_t>(i)] = static_cast<int32_t>((7 * i + 3 * row + 5 * wave + 7) % 50);
      }
      builder.add(tokens.data(), targets.data(), start.data(), 2 * wave + row);
    }
  }

  StepReport run() { return step->run(1, 0.01, 0, 2, fill); }

  Config config;
  Context ctx;
  Decoder decoder;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<TrainStep> step;
};

TEST(NotFinite, AHealthyStepIsTakenAndNamesNothing) {
  Model model;
  EXPECT_FALSE(model.run().skipped);
  EXPECT_EQ(model.optimizer->first_bad_gradient(), "");
  EXPECT_EQ(model.step->first_not_finite(2, Model::fill), "");
}

TEST(NotFinite, TheFirstPartWhoseOutputIsNotFiniteIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"model.layers.0.self_attn.o_proj.weight", "model.layers.0.self_attn"},
      {"model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp"},
      {"model.layers.1.post_attention_layernorm.weight", "model.layers.1.mlp"},
      {"model.layers.2.input_layernorm.weight", "model.layers.2.self_attn"},
      {"model.norm.weight", "model.norm"},
  };
  for (const char* dtype : {"f32", "bf16", "f64"})
    for (const char* recompute : {"none", "full"})
      for (const auto& [parameter, part] : cases) {
        Model model(dtype, recompute);
        model.set_last(parameter, std::numeric_limits<double>::quiet_NaN());
        const StepReport report = model.run();
        EXPECT_TRUE(report.skipped) << parameter;
        EXPECT_FALSE(std::isfinite(report.lm_loss)) << parameter;
        EXPECT_EQ(model.step->first_not_finite(2, Model::fill), part) << parameter << " " << dtype << " " << recompute;
      }
}

TEST(NotFinite, ABadRouterStopsTheStepInsteadOfTheProgram) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Model model;
    model.set_last("model.layers.1.mlp.gate.weight", bad);
    EXPECT_TRUE(model.run().skipped);
    EXPECT_EQ(model.step->first_not_finite(2, Model::fill), "model.layers.1.mlp");
  }
}

TEST(NotFinite, WeightsStayAsTheyWereInASkippedStep) {
  Model model;
  model.set_last("model.layers.1.self_attn.o_proj.weight", std::numeric_limits<double>::quiet_NaN());
  const Parameter& p = *model.decoder.parameters().find("model.embed_tokens.weight");
  const std::vector<float> before = model.ctx.to_host<float>(p.value);
  EXPECT_TRUE(model.run().skipped);
  EXPECT_EQ(model.ctx.to_host<float>(p.value), before);
}

// The backward pass goes from the last block to the first.
TEST(NotFinite, AGradientIsTracedToWhereTheBackwardPassMetItFirst) {
  Model model;
  EXPECT_FALSE(model.run().skipped);
  Parameter* bad = model.decoder.parameters().find("model.layers.1.input_layernorm.weight");
  Parameter* spoilt = model.decoder.parameters().find("model.layers.0.input_layernorm.weight");
  ASSERT_NE(bad, nullptr);
  ASSERT_NE(spoilt, nullptr);
  for (Parameter* p : {bad, spoilt}) p->grad.data<float>()[3] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(model.optimizer->first_bad_gradient(), "model.layers.1.input_layernorm.weight");
}

}  // namespace
}  // namespace sy
