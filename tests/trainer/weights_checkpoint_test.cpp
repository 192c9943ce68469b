// Weights-only checkpoints: a model goes in and comes out to the bit, a run starts from it afresh, and a source that is
// not exactly the model is refused.
#include "trainer/weights_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/csrc/io/io_testing.h"
#include "tests/csrc/io/memory_source.h"
#include "tests/trainer/toy_run.h"
#include "trainer/checkpointing.h"
#include "trainer/new_folder.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;

const char* const kSigmoid = "moe.router={type: sigmoid_topk}";
const char* const kBias = "moe.hooks=[{type: selection_bias, update_rate: 0.05}]";
const char* const kGate = "model.layers.1.mlp.gate.weight";

// The toy's model by Hugging Face name, and its selection biases.
MemorySource source_of(ToyRun& toy) {
  NamedValues values = toy.parameters();
  values.merge(toy.router_state());
  MemorySource source;
  for (const CheckpointTensor& t : model_tensors(toy.decoder())) {
    const std::vector<double>& exact = values.at(name_in_model(t.name));
    if (t.dtype == DType::f64) source.add(name_in_model(t.name), t.shape, exact);
    else source.add(name_in_model(t.name), t.shape, std::vector<float>(exact.begin(), exact.end()));
  }
  return source;
}

void write(const TempDir& temp, const std::string& name, const Config& config, const TensorSource& source) {
  NewFolder folder(temp.file(name));
  write_weights_checkpoint(folder.directory(), config, source, "test");
  folder.publish();
}

CheckpointReader open(const TempDir& temp, const std::string& name) {
  return CheckpointReader(resolve_checkpoint(temp.file(name)));
}

std::string save(ToyRun& toy, const std::string& folder, int64_t step) {
  CheckpointState state;
  state.step = step;
  state.config_text = print_config(toy.config());
  return save_checkpoint(toy.ctx(), toy.decoder(), toy.optimizer(), folder, state, 0);
}

class WeightsCheckpoint : public ::testing::TestWithParam<Overrides> {};

TEST_P(WeightsCheckpoint, HoldsTheModelToTheBitAndNothingOfTheOptimizer) {
  const TempDir temp;
  ToyRun trained(toy_config(GetParam()));
  trained.curve(1, 3);
  write(temp, "weights", trained.config(), source_of(trained));

  const CheckpointReader reader = open(temp, "weights");
  reader.verify_checksums();
  EXPECT_EQ(reader.state().step, 0);
  EXPECT_TRUE(is_weights_only(reader));
  EXPECT_EQ(print_config(load_config(temp.file("weights/config.yaml"), {})), print_config(trained.config()));
  ToyRun other(toy_config(GetParam()));
  load_checkpoint(other.ctx(), other.decoder(), nullptr, reader);
  expect_same_bits(other.parameters(), trained.parameters(), "parameters");
  expect_same_bits(other.router_state(), trained.router_state(), "router state");
  expect_user_error([&] { load_checkpoint(other.ctx(), other.decoder(), &other.optimizer(), reader); },
                    {"weights only", "checkpoint.pretrained_checkpoint"});
}

TEST_P(WeightsCheckpoint, ARunFromItIsTheRunFromTheWholeCheckpointWithAFreshOptimizer) {
  const TempDir temp;
  Overrides another = GetParam();
  another.push_back("train.seed=77");
  ToyRun trained(toy_config(GetParam()));
  trained.curve(1, 3);
  const std::string whole = save(trained, temp.file("whole"), 3);
  write(temp, "weights", trained.config(), source_of(trained));

  ToyRun a(toy_config(another)), b(toy_config(another)), random(toy_config(another));
  load_pretrained(a.ctx(), a.decoder(), a.config(), open(temp, "weights"));
  load_pretrained(b.ctx(), b.decoder(), b.config(), CheckpointReader(whole));
  expect_same_bits(a.parameters(), trained.parameters(), "parameters");
  const std::vector<double> curve = a.curve(1, 3);
  EXPECT_TRUE(same_bits(curve, b.curve(1, 3)));
  EXPECT_FALSE(same_bits(curve, random.curve(1, 3)));
}

INSTANTIATE_TEST_SUITE_P(Models, WeightsCheckpoint,
                         ::testing::Values(Overrides{}, Overrides{kSigmoid, kBias, "train.dtype=bf16"},
                                           Overrides{"model.tie_word_embeddings=true", "train.dtype=f64"},
                                           Overrides{"moe.num_experts=0", "moe.num_experts_per_tok=null",
                                                     "moe.moe_intermediate_size=null", "moe.first_k_dense_replace=null",
                                                     "moe.shared_expert_intermediate_size=null"}));

TEST(WeightsCheckpointErrors, ASourceThatIsNotTheModelIsOneLineAndLeavesNothing) {
  const TempDir temp;
  ToyRun toy(toy_config());
  const auto refused = [&](const char* what, const auto& change, const std::vector<std::string>& fragments) {
    SCOPED_TRACE(what);
    MemorySource source = source_of(toy);
    change(source);
    expect_user_error([&] { write(temp, "weights", toy.config(), source); }, fragments);
    EXPECT_TRUE(std::filesystem::is_empty(temp.path()));
  };
  refused("missing", [](MemorySource& s) { s.erase(kGate); }, {"memory", "lacks", kGate});
  refused("extra", [](MemorySource& s) { s.add("model.extra", {1}, std::vector<float>{1}); },
          {"model.extra", "no place"});
  refused("twice", [](MemorySource& s) { s.add(kGate, {1}, std::vector<float>{1}); }, {kGate, "twice"});
  refused("transposed", [](MemorySource& s) { std::swap(s.shape(kGate)[0], s.shape(kGate)[1]); },
          {kGate, "[32, 6]", "[6, 32]"});
  refused("not finite", [](MemorySource& s) { s.set(kGate, 5, std::nanf("")); }, {"element 5", kGate, "nan"});
  refused("integers",
          [](MemorySource& s) {
            s.erase(kGate);
            s.add(kGate, {6, 32}, std::vector<int32_t>(6 * 32));
          },
          {kGate, "i32", "f32"});
}

TEST(WeightsCheckpointErrors, AnotherModelIsNamedByItsFirstKeyAndTrainingKeysAreFree) {
  const TempDir temp;
  ToyRun toy(toy_config());
  write(temp, "weights", toy.config(), source_of(toy));
  const CheckpointReader reader = open(temp, "weights");
  const auto load = [&](const Overrides& overrides) {
    ToyRun run(toy_config(overrides));
    load_pretrained(run.ctx(), run.decoder(), run.config(), reader);
  };
  expect_user_error([&] { load({"model.hidden_size=64"}); }, {"checkpoint.pretrained_checkpoint", reader.directory(),
                                                              "model.hidden_size is '32' there and '64' here"});
  expect_user_error([&] { load({"model.rope_theta=500"}); }, {"model.rope_theta"});
  expect_user_error([&] { load({"moe.router={type: softmax_topk, norm_topk_prob: false}"}); }, {"moe.router"});
  expect_user_error([&] { load({"train.dtype=f64"}); }, {"f32 there", "train.dtype", "f64 here"});
  load({"train.dtype=bf16", "model.initializer_range=1", "model.pad_vocab_size_to=64", "moe.capacity={type: position}",
        "moe.balance=[{type: load_balancing}]", "optimizer.lr=1", "train.seq_length=8"});
  load({"model.head_dim=8"});  // 32 / 4, as it follows where the key is left out
  expect_user_error([&] { load({"model.head_dim=16"}); }, {"model.head_dim is '8' there and '16' here"});
}

TEST(WeightsCheckpointErrors, AKeyThatWouldHaveNoEffectIsRefused) {
  expect_user_error(
      [] {
        toy_config({"checkpoint.load=somewhere", "checkpoint.pretrained_checkpoint=elsewhere"});
      },
      {"pretrained_checkpoint", "load is auto or none"});
}

}  // namespace
}  // namespace sy::testing
