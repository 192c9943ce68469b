// A run that stops, is saved, and continues in fresh objects takes the same path to the bit as one that never stopped.
#include <gtest/gtest.h>

#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"
#include "trainer/checkpointing.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;

// Saves `toy` after `step` steps and returns the step's directory.
std::string save(ToyRun& toy, const std::string& folder, int64_t step) {
  CheckpointState state;
  state.step = step;
  state.consumed_samples = step * toy.config().train.global_batch_size;
  state.config_text = print_config(toy.config());
  return save_checkpoint(toy.ctx(), toy.decoder(), toy.optimizer(), folder, state, 2);
}

class Resume : public ::testing::TestWithParam<Overrides> {};

TEST_P(Resume, ContinuesToTheBit) {
  const Config config = toy_config(GetParam());
  const TempDir temp;
  ToyRun straight(config);
  const std::vector<double> losses = straight.curve(1, 7);

  std::string directory;
  {
    ToyRun first(config);
    first.curve(1, 3);
    directory = save(first, temp.path(), 3);
  }
  ToyRun second(config);
  second.curve(1, 1);  // whatever these objects held before is replaced
  const CheckpointReader reader(directory);
  EXPECT_EQ(reader.state().step, 3);
  load_checkpoint(second.ctx(), second.decoder(), &second.optimizer(), reader);
  const std::vector<double> continued = second.curve(4, 7);
  const std::vector<double> expected(losses.end() - static_cast<std::ptrdiff_t>(continued.size()), losses.end());
  EXPECT_EQ(continued.size() * 7, losses.size() * 4);
  EXPECT_TRUE(same_bits(continued, expected));
  expect_same_bits(second.parameters(), straight.parameters(), "parameters");
  expect_same_bits(second.router_state(), straight.router_state(), "router state");
  for (std::size_t i = 0; i < straight.optimizer().moments().size(); ++i) {
    const auto &a = second.optimizer().moments()[i], &b = straight.optimizer().moments()[i];
    EXPECT_TRUE(same_bits(widened(second.ctx(), a.m), widened(straight.ctx(), b.m))) << "bucket " << i;
    EXPECT_TRUE(same_bits(widened(second.ctx(), a.v), widened(straight.ctx(), b.v))) << "bucket " << i;
  }
}

const char* const kSigmoid = "moe.router={type: sigmoid_topk}";
const char* const kBias = "moe.hooks=[{type: selection_bias, update_rate: 0.05}]";
const char* const kLagged = "moe.balance=[{type: load_balancing, coefficient: 0.1, scope: global_batch_lagged}]";

INSTANTIATE_TEST_SUITE_P(Configs, Resume,
                         ::testing::Values(Overrides{}, Overrides{"train.dtype=bf16"},
                                           Overrides{kSigmoid, kBias, kLagged},
                                           Overrides{kSigmoid, kBias, kLagged, "train.dtype=bf16"},
                                           Overrides{kLagged, "train.dtype=f64"},
                                           Overrides{"moe.router={type: switch_top1, jitter_eps: 0.3}",
                                                     "moe.num_experts_per_tok=1", "moe.capacity={type: random}"},
                                           Overrides{"moe.router={type: hash}", "train.dtype=bf16"},
                                           Overrides{"model.tie_word_embeddings=true", "train.recompute=full"},
                                           Overrides{"moe.expert_intermediate_sizes=[16, 24, 16, 24, 16, 16]",
                                                     "moe.moe_intermediate_size=null"}));

// Without the state that the test above restores, the path would differ: the balance loss of the first step after a
// restart reads the counts of the step before.
TEST(ResumeState, LaggedBalanceDependsOnTheStepBefore) {
  const Config config = toy_config({kLagged});
  ToyRun straight(config), amnesiac(config);
  straight.curve(1, 3);
  amnesiac.curve(1, 3);
  for (const moe::StateTensor& s : amnesiac.decoder().state()) amnesiac.ctx().set_zero(s.tensor);
  EXPECT_FALSE(same_bits(straight.curve(4, 4), amnesiac.curve(4, 4)));
}

TEST(ResumeState, WeightsForGenerationAreThoseOfTraining) {
  for (const char* dtype : {"train.dtype=f32", "train.dtype=bf16", "train.dtype=f64"}) {
    const TempDir temp;
    const Config config = toy_config({dtype, kSigmoid, kBias});
    ToyRun trained(config);
    trained.curve(1, 3);
    const CheckpointReader reader(save(trained, temp.path(), 3));
    // As `switchyard generate` does: no masters, no optimizer.
    Context ctx(DeviceType::cpu);
    Decoder decoder(ctx, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
    load_checkpoint(ctx, decoder, nullptr, reader);
    for (std::size_t i = 0; i < decoder.parameters().all().size(); ++i) {
      const Parameter &a = decoder.parameters().all()[i], &b = trained.decoder().parameters().all()[i];
      EXPECT_TRUE(same_bits(widened(ctx, a.value), widened(trained.ctx(), b.value))) << dtype << ": " << b.name;
    }
    const auto state = decoder.state(), expected = trained.decoder().state();
    for (std::size_t i = 0; i < state.size(); ++i) {
      const Tensor &a = state[i].tensor, &b = expected[i].tensor;
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(b.bytes())), 0) << state[i].name;
    }
  }
}

TEST(ResumeState, ACheckpointOfAnotherModelIsOneClearError) {
  const TempDir temp;
  ToyRun toy(toy_config({kSigmoid, kBias}));
  toy.curve(1, 1);
  const std::string directory = save(toy, temp.path(), 1);
  const CheckpointReader reader(directory);
  const auto load = [&](const Overrides& overrides, bool with_optimizer) {
    ToyRun other(toy_config(overrides));
    load_checkpoint(other.ctx(), other.decoder(), with_optimizer ? &other.optimizer() : nullptr, reader);
  };
  const std::string sigmoid = kSigmoid, bias = kBias;
  for (const bool with_optimizer : {true, false}) {
    expect_user_error([&] { load({sigmoid, bias, "model.hidden_size=16"}, with_optimizer); }, {directory, "[37, 16]"});
    expect_user_error([&] { load({sigmoid, bias, "moe.num_experts=8"}, with_optimizer); }, {directory, "mlp"});
    expect_user_error(
        [&] {
          load({sigmoid, bias, "model.use_qk_norm=false"}, with_optimizer);
        },
        {directory, "tensor 'model.layers.0.self_attn.k_norm.weight' has no place here"});
    expect_user_error(
        [&] {
          load({sigmoid, bias, "model.num_hidden_layers=4"}, with_optimizer);
        },
        {directory, "model.layers.3"});
    expect_user_error([&] { load({sigmoid}, with_optimizer); }, {directory, "e_score_correction_bias"});
    expect_user_error([&] { load({sigmoid, bias, "train.dtype=f64"}, with_optimizer); }, {directory, "f64", "f32"});
    load({sigmoid, bias}, with_optimizer);
  }
}

}  // namespace
}  // namespace sy::testing
