#include "tests/conformance/f1_layer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "trainer/config.h"

namespace sy::test {

MoeConfig f1_moe(const std::vector<std::string>& overrides) {
  const char* text =
      "model: {vocab_size: 16, hidden_size: 4, num_hidden_layers: 1, num_attention_heads: 1}\n"
      "moe: {num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 3}\n"
      "data: {train_data_path: [x]}\n"
      "train: {train_iters: 1, global_batch_size: 1, seq_length: 4}\n"
      "optimizer: {lr: 1}\n";
  return parse_config(text, "f1.yaml", overrides).moe;
}

std::unique_ptr<LayerRig> f1_layer(const std::vector<std::string>& overrides, int64_t first, int64_t tokens) {
  const RigShape shape{.sequences = 1, .seq_length = tokens, .hidden = 4, .width_divisor = 1};
  auto rig = std::make_unique<LayerRig>(f1_moe(overrides), shape);
  rig->set_input(Doubles(kF1Logits.begin() + first * 4, kF1Logits.begin() + (first + tokens) * 4));
  if (rig->parameters().find("mlp.gate.weight") != nullptr) rig->set_parameter("mlp.gate.weight", kF1RouterWeight);
  rig->ctx().host_step_state.inv_batch_tokens = 0.25;
  rig->ctx().upload_step_state();
  return rig;
}

std::string f1_refusal(const std::vector<std::string>& overrides) {
  try {
    f1_layer(overrides)->forward();
  } catch (const UserError& e) {
    return e.what();
  }
  return "accepted";
}

Doubles row_of(const Doubles& values, int64_t token) {
  return Doubles(values.begin() + token * 4, values.begin() + token * 4 + 4);
}

void expect_near(const Doubles& got, const Doubles& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << "at " << i;
}

Doubles expert_output(LayerRig& rig, int64_t expert, const Doubles& x) {
  const std::size_t width = 3, hidden = 4, e = static_cast<std::size_t>(expert);
  const Doubles up = rig.read(rig.parameters().find("mlp.experts.gate_up_proj")->value);
  const Doubles down = rig.read(rig.parameters().find("mlp.experts.down_proj")->value);
  Doubles y(hidden, 0.0);
  for (std::size_t f = 0; f < width; ++f) {
    double gate = 0, linear = 0;
    for (std::size_t d = 0; d < hidden; ++d) {
      gate += up[(e * 2 * width + f) * hidden + d] * x[d];
      linear += up[(e * 2 * width + width + f) * hidden + d] * x[d];
    }
    for (std::size_t d = 0; d < hidden; ++d)
      y[d] += down[(e * hidden + d) * width + f] * gate / (1 + std::exp(-gate)) * linear;
  }
  return y;
}

}  // namespace sy::test
