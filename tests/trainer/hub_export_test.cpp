// The exported folder holds exactly the trained model, and says which family it belongs to.
#include "trainer/hub_export.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "csrc/models/weights.h"
#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"
#include "trainer/checkpointing.h"

namespace sy::testing {
namespace {

using Json = nlohmann::json;
using Overrides = std::vector<std::string>;

const char* const kSigmoid = "moe.router={type: sigmoid_topk, routed_scaling_factor: 2.5}";
const char* const kBias = "moe.hooks=[{type: selection_bias, update_rate: 0.05}]";
const char* const kUnshared = "moe.shared_expert_intermediate_size=0";

// A trained toy with its checkpoint.
class Trained {
 public:
  explicit Trained(const Overrides& overrides) : toy_(toy_config(overrides)) {
    toy_.curve(1, 3);
    CheckpointState state;
    state.step = 3;
    state.config_text = print_config(toy_.config());
    directory_ = save_checkpoint(toy_.ctx(), toy_.decoder(), toy_.optimizer(), temp_.file("checkpoints"), state, 0);
  }
  ConvertReport convert(const std::string& out, std::optional<DType> dtype = {}) {
    return convert_checkpoint(CheckpointReader(directory_), out, dtype);
  }
  std::string file(const std::string& name) const { return temp_.file(name); }
  const std::string& directory() const { return directory_; }
  ToyRun& toy() { return toy_; }
  std::vector<double> logits(Context& ctx, Decoder& decoder) const {
    BatchBuilder builder(toy_.config().train.seq_length);
    for (int64_t i = 0; i < 3; ++i) add_toy_sample(builder, toy_.config(), 100 + i);
    return widened(ctx, decoder.logits(builder.build(ctx)));
  }

 private:
  TempDir temp_;
  ToyRun toy_;
  std::string directory_;
};

Json config_json(const std::string& folder) { return Json::parse(read_bytes(folder + "/config.json")); }

class Convert : public ::testing::TestWithParam<Overrides> {};

TEST_P(Convert, TheExportedModelGivesTheSameLogitsToTheBit) {
  Trained trained(GetParam());
  const std::string out = trained.file("hub");
  const ConvertReport report = trained.convert(out);
  const Config& config = trained.toy().config();
  const DType dtype = training_dtype(config.train.dtype);
  EXPECT_EQ(report.dtype, dtype);

  Context ctx(DeviceType::cpu);
  // Nothing comes from the seed.
  Decoder decoder(ctx, config.model, config.moe, {.dtype = dtype, .seed = 99});
  const SafetensorsReader file(out + "/model.safetensors");
  load_weights(ctx, decoder, file);  // refuses tensors that are missing or have no place
  EXPECT_EQ(static_cast<int64_t>(file.entries().size()), report.tensors);
  EXPECT_EQ(file.find("lm_head.weight") == nullptr, config.model.tie_word_embeddings);
  const std::vector<int64_t> without_padding = {config.model.vocab_size, config.model.hidden_size};
  EXPECT_EQ(file.view("model.embed_tokens.weight").shape, without_padding);
  EXPECT_EQ(file.metadata().at("format"), "pt");

  const std::vector<double> want = trained.logits(trained.toy().ctx(), trained.toy().decoder());
  EXPECT_TRUE(same_bits(trained.logits(ctx, decoder), want));
  for (const moe::StateTensor& s : decoder.state()) {
    EXPECT_EQ(file.find(s.name) != nullptr, s.in_model) << s.name;
    if (s.tensor.dtype() != DType::f32) continue;
    ctx.set_zero(s.tensor);
    EXPECT_FALSE(same_bits(trained.logits(ctx, decoder), want)) << "the logits do not depend on " << s.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Convert,
                         ::testing::Values(Overrides{}, Overrides{"model.tie_word_embeddings=true"},
                                           Overrides{kSigmoid, "moe.hooks=[{type: selection_bias, update_rate: 5}]",
                                                     "moe.first_k_dense_replace=2"},
                                           Overrides{"train.dtype=bf16", "model.tie_word_embeddings=true"},
                                           Overrides{"train.dtype=f64", "moe.capacity={type: position, factor: 0.9}"},
                                           Overrides{"moe.router={type: hash}"},
                                           Overrides{"moe.expert_intermediate_sizes=[16, 24, 16, 24, 16, 16]",
                                                     "moe.moe_intermediate_size=null"}));

TEST(ConvertDtype, WeightsAreRoundedOnceAndRoutersStayExact) {
  for (const char* training : {"train.dtype=f32", "train.dtype=bf16", "train.dtype=f64"}) {
    Trained trained({training});
    const CheckpointReader reader(trained.directory());
    EXPECT_EQ(trained.convert(trained.file("bf16"), DType::bf16).dtype, DType::bf16);
    EXPECT_EQ(trained.convert(trained.file("f32"), DType::f32).dtype, DType::f32);
    const SafetensorsReader half(trained.file("bf16") + "/model.safetensors"),
        whole(trained.file("f32") + "/model.safetensors");
    int64_t exact = 0;
    ASSERT_EQ(half.entries().size(), whole.entries().size());
    for (const auto& entry : whole.entries()) {
      ASSERT_EQ(*entry.dtype, DType::f32) << entry.name;
      const TensorView view = half.view(entry.name);
      const bool is_router = entry.name.ends_with("mlp.gate.weight");
      EXPECT_EQ(view.dtype, is_router ? DType::f32 : DType::bf16) << entry.name;
      exact += is_router ? 1 : 0;
      std::vector<double> stored;
      dispatch_accumulation(std::string(training) == "train.dtype=f64" ? DType::f64 : DType::f32, [&]<class A>() {
        std::vector<A> values(static_cast<std::size_t>(element_count(entry.shape)));
        reader.read_box(entry.name, "", Box::whole(entry.shape), values.data());
        stored.assign(values.begin(), values.end());
      });
      const auto* floats = static_cast<const float*>(whole.view(entry.name).data);
      const auto* halves = static_cast<const bf16*>(view.data);
      int64_t different = 0;
      for (std::size_t i = 0; i < stored.size(); ++i) {
        different += floats[i] != static_cast<float>(stored[i]) ? 1 : 0;
        if (!is_router)
          different += static_cast<float>(halves[i]) != static_cast<float>(bf16(static_cast<float>(stored[i]))) ? 1 : 0;
      }
      EXPECT_EQ(different, 0) << entry.name;
    }
    EXPECT_EQ(exact, 2);  // of the three layers the first is dense
    EXPECT_EQ(config_json(trained.file("bf16")).at("torch_dtype"), "bfloat16");
    EXPECT_EQ(config_json(trained.file("f32")).at("torch_dtype"), "float32");
  }
}

TEST(ConvertConfig, AQwen3MoeIsOne) {
  Trained trained({kUnshared, "moe.router={type: softmax_topk, norm_topk_prob: false}", "model.rope_theta=1000000",
                   "moe.balance=[{type: load_balancing}]"});
  const std::string out = trained.file("nested/hub/");  // parents are made; the slash is no part of the name
  EXPECT_EQ(trained.convert(out).without_family, "");
  const Json want = {{"architectures", {"Qwen3MoeForCausalLM"}},
                     {"model_type", "qwen3_moe"},
                     {"torch_dtype", "float32"},
                     {"hidden_act", "silu"},
                     {"attention_bias", false},
                     {"vocab_size", 37},
                     {"hidden_size", 32},
                     {"intermediate_size", 40},
                     {"num_hidden_layers", 3},
                     {"num_attention_heads", 4},
                     {"num_key_value_heads", 2},
                     {"head_dim", 8},
                     {"rms_norm_eps", 1e-5},
                     {"rope_theta", 1e6},
                     {"rope_scaling", nullptr},
                     {"max_position_embeddings", 512},
                     {"tie_word_embeddings", false},
                     {"initializer_range", 0.2},
                     {"num_experts", 6},
                     {"num_experts_per_tok", 2},
                     {"moe_intermediate_size", 16},
                     {"norm_topk_prob", false},
                     {"decoder_sparse_step", 1},
                     {"mlp_only_layers", {0}}};
  EXPECT_EQ(config_json(out), want) << config_json(out).dump(1);
}

TEST(ConvertConfig, WhatHuggingFaceHasNoFamilyForIsNamed) {
  const auto trait = [](Overrides overrides) {
    if (std::find(overrides.begin(), overrides.end(), "") != overrides.end()) std::erase(overrides, "");
    else overrides.push_back(kUnshared);
    Trained trained(overrides);
    const ConvertReport report = trained.convert(trained.file("hub"));
    const Json config = config_json(trained.file("hub"));
    EXPECT_EQ(config.at("model_type"), report.without_family.empty() ? "qwen3_moe" : "switchyard");
    EXPECT_EQ(config.contains("architectures"), report.without_family.empty());
    EXPECT_EQ(config.at("hidden_size"), 32);
    return report.without_family;
  };
  const auto expect = [&](const Overrides& overrides, const std::string& why) {
    const std::string all = trait(overrides);
    EXPECT_NE((all + ";").find("qwen3_moe: " + why + ";"), std::string::npos) << all;
    EXPECT_NE(all.find("llama: experts; "), std::string::npos) << all;
  };
  EXPECT_EQ(trait({}), "");
  EXPECT_EQ(trait({"model.tie_word_embeddings=true", "moe.num_experts_per_layer=[0, 6, 0]", "moe.num_experts=null",
                   "moe.first_k_dense_replace=null"}),
            "");
  EXPECT_EQ(trait({"model.rope_scaling={type: linear, factor: 4}"}), "");
  EXPECT_EQ(trait({"moe.router={type: softmax_topk, softmax: after}"}), "");
  expect({""}, "moe.shared_expert_intermediate_size: 24");
  expect({"model.use_qk_norm=false"}, "model.use_qk_norm: false");
  expect({"model.qk_norm_scope=all_heads"}, "model.qk_norm_scope: all_heads");
  expect({kBias}, "moe.hooks: selection_bias");
  expect({"moe.capacity={type: position, factor: 0.9}"}, "moe.capacity: position");
  expect({"moe.router={type: softmax_topk, routed_scaling_factor: 2}"},
         R"(moe.router: {"type":"softmax_topk","softmax":"before","norm_topk_prob":true,"routed_scaling_factor":2.0})");
  expect({"moe.num_experts_per_layer=[0, 4, 6]", "moe.num_experts=null", "moe.first_k_dense_replace=null"},
         "moe.num_experts_per_layer: several counts");
  expect({"moe.expert_intermediate_sizes=[16, 24, 16, 24, 16, 16]", "moe.moe_intermediate_size=null"},
         "moe.expert_intermediate_sizes: several widths");
}

TEST(ConvertConfig, TheSettingsOfAnotherArchitectureAreAllThere) {
  Trained trained({kSigmoid, kBias, "model.rope_scaling={type: linear, factor: 4}"});
  trained.convert(trained.file("hub"));
  const Json config = config_json(trained.file("hub"));
  EXPECT_EQ(config.at("norm_topk_prob"), true);
  EXPECT_EQ(config.at("routed_scaling_factor"), 2.5);
  EXPECT_EQ(config.at("n_group"), 1);
  EXPECT_EQ(config.at("use_qk_norm"), true);
  EXPECT_EQ(config.at("shared_expert_intermediate_size"), 24);
  EXPECT_EQ(config.at("router").at("type"), "sigmoid_topk");
  EXPECT_EQ(config.at("hooks").at(0).at("type"), "selection_bias");
  EXPECT_EQ(config.at("rope_scaling"), (Json{{"rope_type", "linear"}, {"factor", 4.0}}));
}

TEST(ConvertConfig, ATokenizerThatIsGoneIsLeftOutWithAWord) {
  const std::string moved = "/proc/no_such_folder/tokenizer.json";
  Trained trained({"data.tokenizer=" + moved});
  const ConvertReport report = trained.convert(trained.file("hub"));
  EXPECT_NE(report.without_tokenizer.find(moved), std::string::npos) << report.without_tokenizer;
  EXPECT_FALSE(config_json(trained.file("hub")).contains("eos_token_id"));
  EXPECT_FALSE(std::filesystem::exists(trained.file("hub/tokenizer.json")));
  EXPECT_EQ(SafetensorsReader(trained.file("hub/model.safetensors")).entries().size(),
            static_cast<std::size_t>(report.tensors));
  EXPECT_EQ(Trained({}).convert(trained.file("bytes")).without_tokenizer, "");
}

TEST(ConvertErrors, AreOneLineAndLeaveNothingBehind) {
  Trained trained({});
  const std::string out = trained.file("hub");
  trained.convert(out);
  const std::string before = read_bytes(out + "/model.safetensors");
  expect_user_error([&] { trained.convert(out, DType::bf16); }, {out, "exists already"});
  expect_user_error([&] { trained.convert(out + "/", DType::bf16); }, {out, "exists already"});
  EXPECT_EQ(read_bytes(out + "/model.safetensors"), before);
  expect_user_error([&] { trained.convert("/proc/no_such_folder/hub"); }, {"/proc/no_such_folder"});

  // What an interrupted conversion left is no obstacle.
  std::filesystem::create_directories(trained.file(".tmp_again"));
  write_bytes(trained.file(".tmp_again/stale"), "x");
  trained.convert(trained.file("again"));
  EXPECT_FALSE(std::filesystem::exists(trained.file("again/stale")));

  // Damage is found while it is read; neither the folder nor its temporary form stays.
  const std::string shard = trained.directory() + "/shard_00000_of_00001.safetensors";
  std::string bytes = read_bytes(shard);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  {
    const SafetensorsReader file(shard);
    for (const auto& entry : file.entries())
      if (entry.name.starts_with("model.norm.weight|")) bytes[8 + header + static_cast<std::size_t>(entry.begin)] ^= 1;
  }
  write_bytes(shard, bytes);
  expect_user_error([&] { trained.convert(trained.file("damaged")); }, {shard, "damaged", "model.norm.weight"});
  EXPECT_FALSE(std::filesystem::exists(trained.file("damaged")));
  EXPECT_FALSE(std::filesystem::exists(trained.file(".tmp_damaged")));
}

}  // namespace
}  // namespace sy::testing
