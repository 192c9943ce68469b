// Samples of a model's blocks: inputs that give the blocks' outputs, and gradients that give the loss' derivative.
#include "trainer/block_samples.h"

#include "csrc/upcycling/samples.h"
#include "tests/trainer/dense_toy.h"
#include "tests/trainer/sample_corpus.h"

namespace sy::testing {
namespace {

using upcycling::LayerSamples;
using upcycling::SampleNeed;

class BlockSamples : public ::testing::Test {
 protected:
  // Block `layer` of the model in f64.
  upcycling::Ffn block(int64_t layer) {
    const NamedValues values = dense_.parameters();
    const std::string prefix = fmt::format("model.layers.{}.mlp.", layer);
    upcycling::Ffn ffn{.hidden_size = 32, .weight_FD = {}, .origin_F = std::vector<upcycling::Origin>(48)};
    ffn.weight_FD[upcycling::kGate] = values.at(prefix + "gate_proj.weight");
    ffn.weight_FD[upcycling::kUp] = values.at(prefix + "up_proj.weight");
    const std::vector<double>& down_DF = values.at(prefix + "down_proj.weight");
    for (size_t i = 0; i < 48; ++i)
      for (size_t j = 0; j < 32; ++j) ffn.weight_FD[upcycling::kDown].push_back(down_DF[48 * j + i]);
    return ffn;
  }
  // The corpus' first window, as the samples take it.
  Batch batch() {
    const std::vector<int32_t> zeros(12, 0);
    BatchBuilder builder(12);
    builder.add(tokens_.data(), tokens_.data() + 1, zeros.data(), 0);
    return builder.build(dense_.ctx());
  }
  // Summed over the targets.
  double loss() {
    LossSink sink(dense_.ctx());
    dense_.ctx().host_step_state.inv_loss_tokens = 1;
    dense_.ctx().upload_step_state();
    dense_.decoder().forward_loss(batch(), sink);
    return dense_.ctx().to_host<double>(sink.slot("lm_loss"))[0];
  }

  TempDir temp_;
  ToyRun dense_{dense_toy_config({"train.dtype=f64", "model.vocab_size=260", "model.residual_multiplier=0.5"})};
  std::string path_ = save_run(dense_, temp_.file("dense"));
  std::vector<int32_t> tokens_ = write_sample_corpus(temp_.file("text"), 60, 1);
};

TEST_F(BlockSamples, InputsAreWhatTheBlocksTurnIntoTheirOutputs) {
  const std::vector<LayerSamples> samples =
      block_samples(StoredModel(path_), {.data_path = {temp_.file("text")}, .tokens = 1}, SampleNeed::kInputs);
  ASSERT_EQ(samples.size(), 3u);
  std::map<std::string, std::vector<double>> stream;
  dense_.decoder().observe(
      batch(), [&](const std::string& part, const Var& h) { stream[part] = widened(dense_.ctx(), h.value()); });
  for (int64_t layer = 0; layer < 3; ++layer) {
    const std::vector<double> y = upcycling::outputs(block(layer), samples[static_cast<size_t>(layer)].at(0).x_TD);
    const auto& before = stream.at(fmt::format("model.layers.{}.self_attn", layer));
    const auto& after = stream.at(fmt::format("model.layers.{}.mlp", layer));
    ASSERT_EQ(y.size(), after.size());
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(0.5 * y[i], after[i] - before[i], 1e-5);  // inputs are kept as f32
    EXPECT_TRUE(samples[static_cast<size_t>(layer)][0].dy_TD.empty());
  }
}

// The derivative of the loss by a factor on a block's output is the sum of dy times the output.
TEST_F(BlockSamples, GradientsAreThoseOfTheSummedLoss) {
  const std::vector<LayerSamples> samples =
      block_samples(StoredModel(path_), {.data_path = {temp_.file("text")}, .tokens = 12}, SampleNeed::kGradients);
  for (int64_t layer = 0; layer < 3; ++layer) {
    const upcycling::BlockSamples& text = samples[static_cast<size_t>(layer)].at(0);
    ASSERT_EQ(text.dy_TD.size(), text.x_TD.size());
    const std::vector<double> y = upcycling::outputs(block(layer), text.x_TD);
    double derivative = 0;
    for (size_t i = 0; i < y.size(); ++i) derivative += y[i] * static_cast<double>(text.dy_TD[i]);
    Parameter& down = *dense_.decoder().parameters().find(fmt::format("model.layers.{}.mlp.down_proj.weight", layer));
    const std::vector<double> whole = widened(dense_.ctx(), down.value);
    const auto loss_times = [&](double factor) {
      std::vector<double> scaled = whole;
      for (double& w : scaled) w *= factor;
      dense_.ctx().copy_from_host(down.value, scaled.data());
      return loss();
    };
    EXPECT_NEAR(derivative, (loss_times(1 + 1e-5) - loss_times(1 - 1e-5)) / 2e-5, 1e-4) << "layer " << layer;
    loss_times(1);
  }
}

TEST_F(BlockSamples, EveryTextHasItsOwnAndTokensWithoutATargetAreLeftOut) {
  write_sample_corpus(temp_.file("short"), 18, 2);  // one window of 12 targets and one of 5
  const std::vector<LayerSamples> samples = block_samples(
      StoredModel(path_), {.data_path = {temp_.file("text"), temp_.file("short")}, .tokens = 25}, SampleNeed::kInputs);
  ASSERT_EQ(samples[1].size(), 2u);
  EXPECT_EQ(samples[1][0].x_TD.size(), 24u * 32);
  EXPECT_EQ(samples[1][1].x_TD.size(), 17u * 32);
}

}  // namespace
}  // namespace sy::testing
