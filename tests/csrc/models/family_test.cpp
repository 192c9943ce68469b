// config.json -> sections: both spellings of rope, transformers' defaults, and an error for every key that would change
// the model without being understood.
#include "csrc/models/family.h"

#include <gtest/gtest.h>

#include "tests/csrc/io/io_testing.h"
#include "trainer/config.h"

namespace sy::testing {
namespace {

HubJson llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 53},
          {"hidden_size", 16},
          {"intermediate_size", 20},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"eos_token_id", {1, 2}},
          {"head_dim", nullptr},
          {"torch_dtype", "bfloat16"}};
}

HubJson qwen3_moe() {
  HubJson hub = llama();
  hub["architectures"] = {"Qwen3MoeForCausalLM"};
  hub["model_type"] = "qwen3_moe";
  hub.update({{"num_hidden_layers", 4}, {"num_experts", 8}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 12}});
  return hub;
}

HubModel read(const HubJson& hub) { return read_hub_config(hub.dump(), "folder/config.json"); }
HubJson model_of(const HubJson& hub) { return read(hub).sections.at("model"); }

// The run that the sections describe.
Config config_of(const HubJson& hub) {
  HubJson run = read(hub).sections;
  run["train"] = {{"train_iters", 1}, {"global_batch_size", 1}, {"seq_length", 4}};
  run["optimizer"] = {{"lr", 1}};
  return parse_config(run.dump(), "sections", {});
}

HubJson with(HubJson hub, const HubJson& changes) {
  hub.update(changes);
  return hub;
}

TEST(Family, WhatAConfigLeavesOutIsAsInTransformers) {
  const ModelConfig llama_model = config_of(llama()).model;
  EXPECT_EQ(llama_model.rms_norm_eps, 1e-6);
  EXPECT_EQ(llama_model.kv_heads(), 4);
  EXPECT_EQ(llama_model.head_size(), 4);
  EXPECT_EQ(llama_model.rope_theta, 10000);
  EXPECT_FALSE(llama_model.tie_word_embeddings);
  EXPECT_FALSE(llama_model.use_qk_norm);
  const Config moe = config_of(qwen3_moe());
  EXPECT_EQ(moe.model.kv_heads(), 4);
  EXPECT_EQ(moe.model.max_position_embeddings, 32768);
  EXPECT_EQ(moe.model.intermediate_size, 0);
  EXPECT_TRUE(moe.model.use_qk_norm);
  EXPECT_EQ(moe.moe.num_experts, 8);
  EXPECT_EQ(read(qwen3_moe()).sections.at("moe").at("router").at("norm_topk_prob"), false);
}

TEST(Family, BothSpellingsOfRopeGiveTheSame) {
  const HubJson llama3 = {
      {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  const auto old_spelling = [&](const char* type_key) {
    return with(llama(), {{"rope_theta", 5e5}, {"rope_scaling", with({{type_key, "llama3"}}, llama3)}});
  };
  const HubJson new_spelling =
      with(llama(), {{"rope_parameters", with({{"rope_type", "llama3"}, {"rope_theta", 5e5}}, llama3)}});
  const ModelConfig model = config_of(new_spelling).model;
  EXPECT_EQ(model.rope_theta, 5e5);
  EXPECT_EQ(model.rope_scaling.type, RopeScalingType::kLlama3);
  EXPECT_EQ(model.rope_scaling.factor, 8);
  EXPECT_EQ(config_of(old_spelling("type")).model, model);
  EXPECT_EQ(config_of(old_spelling("rope_type")).model, model);
  EXPECT_EQ(model_of(with(llama(), {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7.0}}}})),
            model_of(with(llama(), {{"rope_theta", 7.0}, {"rope_scaling", nullptr}})));
}

TEST(Family, Qwen2MoeHasBiasesAndAGatedSharedExpert) {
  HubJson hub = with(qwen3_moe(), {{"model_type", "qwen2_moe"}, {"architectures", {"Qwen2MoeForCausalLM"}}});
  hub.erase("num_experts");
  hub["num_key_value_heads"] = 2;
  const Config config = config_of(hub);
  EXPECT_EQ(config.moe.num_experts, 60);
  EXPECT_EQ(config.moe.shared_expert_intermediate_size, 5632);
  EXPECT_TRUE(config.moe.shared_expert_gate);
  EXPECT_TRUE(config.model.qkv_bias);
  EXPECT_FALSE(config.model.use_qk_norm);
  expect_user_error([&] { read(with(hub, {{"qkv_bias", false}})); }, {"folder/config.json", "qkv_bias is false"});
}

TEST(Family, Dots1NeedsItsCounts) {
  const HubJson hub = with(llama(), {{"model_type", "dots1"},
                                     {"architectures", {"Dots1ForCausalLM"}},
                                     {"num_key_value_heads", 2},
                                     {"n_routed_experts", 8},
                                     {"n_shared_experts", 3},
                                     {"num_experts_per_tok", 2}});
  const Config config = config_of(hub);
  EXPECT_EQ(config.moe.shared_expert_intermediate_size, 3 * 1408);
  EXPECT_FALSE(config.moe.shared_expert_gate);
  EXPECT_EQ(config.model.intermediate_size, 0);
  for (const char* key : {"n_routed_experts", "n_shared_experts", "num_experts_per_tok"})
    expect_user_error([&] { read(with(hub, {{key, nullptr}})); }, {"folder/config.json", key});
}

TEST(Family, LayersThatQwen3MoeMakesDenseAreDense) {
  const auto counts = [](const HubJson& changes) {
    const Config config = config_of(with(qwen3_moe(), changes));
    std::vector<int64_t> experts;
    for (int64_t i = 0; i < 4; ++i) experts.push_back(config.moe.num_experts_in_layer(i));
    return experts;
  };
  EXPECT_EQ(counts(HubJson::object()), (std::vector<int64_t>{8, 8, 8, 8}));
  EXPECT_EQ(counts({{"decoder_sparse_step", 2}}), (std::vector<int64_t>{0, 8, 0, 8}));
  EXPECT_EQ(counts({{"mlp_only_layers", {0, 2}}}), (std::vector<int64_t>{0, 8, 0, 8}));
  EXPECT_EQ(counts({{"decoder_sparse_step", 2}, {"mlp_only_layers", {3}}}), (std::vector<int64_t>{0, 8, 0, 0}));
}

TEST(Family, FullAttentionMayBeSpelledInManyWays) {
  const HubJson plain = model_of(llama());
  EXPECT_EQ(model_of(with(llama(), {{"use_sliding_window", false}, {"sliding_window", 16}})), plain);
  EXPECT_EQ(model_of(with(llama(), {{"layer_types", {"full_attention"}}, {"sliding_window", 16}})), plain);
  EXPECT_EQ(model_of(with(llama(), {{"layer_types", {"full_attention", "full_attention"}}})), plain);
  HubJson reached = model_of(with(llama(), {{"sliding_window", 64}, {"max_position_embeddings", 64}}));
  EXPECT_EQ(reached.at("max_position_embeddings"), 64);
}

TEST(Family, AWindowOfMistralIsThereUnlessTheFileSaysOtherwise) {
  HubJson mistral =
      with(llama(), {{"model_type", "mistral"}, {"architectures", {"MistralForCausalLM"}}, {"num_key_value_heads", 2}});
  EXPECT_EQ(config_of(mistral).model.sliding_window, 4096);  // transformers' default
  EXPECT_EQ(config_of(with(mistral, {{"sliding_window", 16}})).model.sliding_window, 16);
  EXPECT_EQ(config_of(with(mistral, {{"sliding_window", nullptr}})).model.sliding_window, 0);
  EXPECT_EQ(config_of(with(mistral, {{"max_position_embeddings", 4096}})).model.sliding_window, 0);
  expect_user_error([&] { config_of(with(mistral, {{"sliding_window", -1}})); }, {"model.sliding_window", "-1"});
}

class Refused : public ::testing::TestWithParam<std::pair<HubJson, std::vector<std::string>>> {};

TEST_P(Refused, NamesTheFileTheKeyAndTheValue) {
  std::vector<std::string> fragments = GetParam().second;
  fragments.push_back("folder/config.json");
  expect_user_error([&] { read(with(llama(), GetParam().first)); }, fragments);
}

INSTANTIATE_TEST_SUITE_P(
    Keys, Refused,
    ::testing::Values(
        std::pair(HubJson{{"attention_bias", true}}, std::vector<std::string>{"attention_bias is true"}),
        std::pair(HubJson{{"mlp_bias", true}}, std::vector<std::string>{"mlp_bias is true"}),
        std::pair(HubJson{{"hidden_act", "gelu"}}, std::vector<std::string>{"hidden_act is \"gelu\"", "silu"}),
        std::pair(HubJson{{"clip_qkv", 8.0}}, std::vector<std::string>{"clip_qkv is 8.0"}),
        std::pair(HubJson{{"attention_dropout", 0.1}}, std::vector<std::string>{"attention_dropout is 0.1"}),
        std::pair(HubJson{{"router_jitter_noise", 0.1}}, std::vector<std::string>{"router_jitter_noise is 0.1"}),
        std::pair(HubJson{{"sliding_window", 16}}, std::vector<std::string>{"sliding_window 16", "llama"}),
        std::pair(HubJson{{"use_sliding_window", true}}, std::vector<std::string>{"sliding_window is missing"}),
        std::pair(HubJson{{"use_sliding_window", true}, {"sliding_window", 16}},
                  std::vector<std::string>{"sliding_window 16"}),
        std::pair(HubJson{{"layer_types", {"full_attention", "sliding_attention"}}},
                  std::vector<std::string>{"layer_types", "sliding_attention"}),
        std::pair(HubJson{{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}},
                  std::vector<std::string>{"rope_scaling of type \"yarn\""}),
        std::pair(HubJson{{"rope_parameters", {{"rope_type", "dynamic"}}}},
                  std::vector<std::string>{"rope_parameters of type \"dynamic\""}),
        std::pair(HubJson{{"rope_parameters", {{"rope_type", "default"}, {"factor", 2.0}}}},
                  std::vector<std::string>{"rope_parameters.factor"}),
        std::pair(HubJson{{"rope_scaling", {{"type", "linear"}, {"rope_type", "llama3"}}}},
                  std::vector<std::string>{"linear", "llama3"}),
        std::pair(HubJson{{"rope_theta", 1.0}, {"rope_parameters", {{"rope_theta", 2.0}}}},
                  std::vector<std::string>{"rope_theta is 1.0", "2.0"}),
        std::pair(HubJson{{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                          {"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}}}},
                  std::vector<std::string>{"both rope_scaling and rope_parameters"}),
        std::pair(HubJson{{"quantization_config", {{"bits", 4}}}},
                  std::vector<std::string>{"quantization_config", "bits", "not understood", "llama"}),
        std::pair(HubJson{{"residual_multiplier", 0.5}},
                  std::vector<std::string>{"residual_multiplier (0.5)", "llama"}),
        std::pair(HubJson{{"num_experts", 4}}, std::vector<std::string>{"num_experts (4) is not understood"}),
        std::pair(HubJson{{"architectures", {"LlamaForSequenceClassification"}}},
                  std::vector<std::string>{"LlamaForSequenceClassification", "LlamaForCausalLM"}),
        std::pair(HubJson{{"model_type", "gpt2"}},
                  std::vector<std::string>{"gpt2",
                                           "dots1, granite, granitemoe, llama, mistral, mixtral, olmoe, qwen2"})));

TEST(Family, AConfigThatIsNoneIsRefused) {
  expect_user_error([] { read_hub_config("{", "folder/config.json"); }, {"folder/config.json", "not a JSON object"});
  expect_user_error([] { read_hub_config("{}", "folder/config.json"); }, {"folder/config.json", "no model_type"});
  HubJson hub = llama();
  hub.erase("hidden_size");
  expect_user_error([&] { config_of(hub); }, {"model.hidden_size is missing"});
  expect_user_error(
      [&] {
        read(with(qwen3_moe(), {{"decoder_sparse_step", 0}}));
      },
      {"folder/config.json", "decoder_sparse_step is 0"});
}

TEST(Family, AGraniteThatLeavesAttentionToTheWidthOfItsHeadsSaysTheScale) {
  Config config = config_of(with(llama(), {{"num_key_value_heads", 2}}));
  config.model.logits_scaling = 2;
  Context meta(DeviceType::meta);
  Decoder decoder(meta, config.model, config.moe, {});
  EXPECT_EQ(find_family(decoder).model_type, "granite") << find_family(decoder).why_not;
  const HubJson keys = make_family("granite", "")->hub_keys(decoder);
  EXPECT_EQ(keys.at("attention_multiplier"), 0.5);  // heads are four wide
  EXPECT_EQ(keys.at("embedding_multiplier"), 1);
}

// What a family writes, it reads as the same model.
TEST(Family, ReadsWhatItWrites) {
  const HubJson moe = with(qwen3_moe(), {{"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}}},
                                         {"mlp_only_layers", {1}},
                                         {"norm_topk_prob", true}});
  std::vector<HubJson> hubs = {llama(), moe};
  const auto add = [&](const char* model_type, const char* architecture, const HubJson& keys) {
    hubs.push_back(with(with(llama(), keys), {{"model_type", model_type}, {"architectures", {architecture}}}));
  };
  add("qwen2", "Qwen2ForCausalLM", {{"num_key_value_heads", 2}, {"use_sliding_window", false}, {"sliding_window", 8}});
  add("qwen3", "Qwen3ForCausalLM", {{"num_key_value_heads", 2}, {"tie_word_embeddings", true}});
  add("mistral", "MistralForCausalLM", {{"num_key_value_heads", 2}, {"sliding_window", 16}, {"head_dim", 6}});
  add("mistral", "MistralForCausalLM",
      {{"num_key_value_heads", 2}, {"hidden_size", 18}, {"head_dim", 6}, {"sliding_window", nullptr}});
  add("granite", "GraniteForCausalLM", {{"embedding_multiplier", 12.0}, {"logits_scaling", 8}});
  add("granite", "GraniteForCausalLM", HubJson::object());  // an attention_multiplier of 1
  add("granitemoe", "GraniteMoeForCausalLM", {{"residual_multiplier", 0.22}, {"num_local_experts", 5}});
  add("dots1", "Dots1ForCausalLM",
      {{"num_key_value_heads", 2},
       {"n_routed_experts", 8},
       {"n_shared_experts", 2},
       {"num_experts_per_tok", 2},
       {"moe_intermediate_size", 12},
       {"n_group", 4},
       {"topk_group", 2},
       {"first_k_dense_replace", 1}});
  add("qwen2_moe", "Qwen2MoeForCausalLM",
      {{"num_key_value_heads", 2}, {"num_experts", 5}, {"moe_intermediate_size", 12}, {"decoder_sparse_step", 2}});
  add("mixtral", "MixtralForCausalLM", {{"num_local_experts", 3}, {"num_key_value_heads", 2}});
  add("olmoe", "OlmoeForCausalLM", {{"num_experts", 5}, {"num_experts_per_tok", 2}});
  for (const HubJson& hub : hubs) {
    const std::string type = hub.at("model_type");
    SCOPED_TRACE(type);
    const Config config = config_of(hub);
    Context meta(DeviceType::meta);
    Decoder decoder(meta, config.model, config.moe, {});
    EXPECT_EQ(find_family(decoder).model_type, type) << find_family(decoder).why_not;
    HubJson written = make_family(type, "")->hub_keys(decoder);
    written["model_type"] = type;
    Config again = config_of(written);
    // Written out where they were left to follow from others.
    again.model.num_key_value_heads = config.model.num_key_value_heads;
    again.model.head_dim = config.model.head_dim;
    EXPECT_EQ(print_config(again), print_config(config));
  }
}

}  // namespace
}  // namespace sy::testing
