// Hugging Face folders of every family, as `transformers` wrote them (scripts/goldens/families.py): what the imported
// model computes, the way back to equal bytes, and folders that are not whole.
#include "trainer/hub_import.h"

#include <gtest/gtest.h>

#include <deque>
#include <nlohmann/json.hpp>

#include "csrc/io/print_fields.h"
#include "csrc/io/safetensors_folder.h"
#include "csrc/models/family.h"
#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"
#include "trainer/checkpointing.h"
#include "trainer/config.h"
#include "trainer/hub_export.h"
#include "trainer/session.h"
#include "trainer/train_step.h"
#include "trainer/weights_checkpoint.h"

namespace sy::testing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string golden_folder(const std::string& name) { return SY_SOURCE_DIR "/tests/golden/families/" + name; }

CheckpointReader open(const std::string& folder) { return CheckpointReader(resolve_checkpoint(folder)); }

std::map<std::string, std::pair<SourceTensor, std::string>> contents(const std::string& folder) {
  const SafetensorsFolder source(folder);
  std::map<std::string, std::pair<SourceTensor, std::string>> all;
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const SourceTensor& t = source.tensors()[i];
    std::string bytes(static_cast<size_t>(element_count(t.shape) * dtype_bytes(t.dtype)), '\0');
    source.read(i, bytes.data());
    all[t.name] = {t, bytes};
  }
  return all;
}

NamedValues values_of(const std::string& folder) {
  const Config config = load_config(folder + "/config.yaml", {});
  Context ctx(DeviceType::cpu);
  Decoder decoder(ctx, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
  load_checkpoint(ctx, decoder, nullptr, open(folder));
  return parameter_values(ctx, decoder);
}

class HubImport : public ::testing::TestWithParam<const char*> {
 protected:
  HubImport() : golden_(golden_folder(GetParam()) + "/expected.safetensors") {
    report_ = import_model(open_hub_folder(golden_folder(GetParam())), temp_.file("out"));
  }
  std::vector<double> expected(const std::string& name) const {
    const TensorView view = golden_.view(name, DType::f32, golden_.view(name).shape);
    const auto* values = static_cast<const float*>(view.data);
    return {values, values + element_count(view.shape)};
  }

  TempDir temp_;
  SafetensorsReader golden_;
  ImportReport report_;
};

// Both sides compute in f32, with sums in different orders: 2e-5 of the scale of logits and gradients.
constexpr double kBound = 2e-5;

TEST_P(HubImport, LogitsLossAndEveryGradientAreThoseOfTransformers) {
  const std::vector<std::string> batch = {"train.micro_batch_size=2", "train.global_batch_size=2", "train.seq_length=8",
                                          "train.dtype=f32"};
  const Config config = load_config(temp_.file("out/config.yaml"), batch);
  Context ctx(DeviceType::cpu);
  Decoder decoder(ctx, config.model, config.moe, {.dtype = DType::f32, .seed = 99});
  Optimizer optimizer(ctx, decoder, config.optimizer);
  TrainStep step(ctx, decoder, optimizer, config.train.seq_length);
  load_pretrained(ctx, decoder, config, open(temp_.file("out")));

  const TensorView tokens = golden_.view("tokens", DType::i32, {2, 9});
  const auto fill = [&](BatchBuilder& builder) {
    const std::vector<int32_t> start(8, 0);
    for (int64_t i = 0; i < 2; ++i) {
      const auto* row = static_cast<const int32_t*>(tokens.data) + 9 * i;
      builder.add(row, row + 1, start.data(), i);
    }
  };
  BatchBuilder builder(8);
  fill(builder);
  const std::vector<double> padded = widened(ctx, decoder.logits(builder.build(ctx)));
  std::vector<double> logits;
  for (size_t row = 0; row < 16; ++row) {
    const auto begin = padded.begin() + static_cast<std::ptrdiff_t>(row * padded.size() / 16);
    logits.insert(logits.end(), begin, begin + config.model.vocab_size);
  }
  expect_close({{"logits", logits}}, {{"logits", expected("logits")}}, kBound, "logits");

  const StepReport report = step.run(1, 0.0, 0, 1, [&](int64_t, BatchBuilder& b) { fill(b); });
  EXPECT_NEAR(report.lm_loss, expected("loss")[0], kBound * report.lm_loss);
  const auto family =
      make_family(Json::parse(read_bytes(golden_folder(GetParam()) + "/config.json"))["model_type"], "");
  NamedValues got, want;
  for (const auto& [name, values] : gradient_values(ctx, decoder)) {
    std::vector<double>& stack = got[family->name_in_file(name)];
    stack.insert(stack.end(), values.begin(), values.end());
  }
  for (const auto& entry : golden_.entries())
    if (entry.name.starts_with("grad.")) want[entry.name.substr(5)] = expected(entry.name);
  expect_close(got, want, kBound, "gradient");
}

TEST_P(HubImport, TheWayBackGivesTheSameTensorsToTheBitAndTheSameModel) {
  const ConvertReport report = convert_checkpoint(open(temp_.file("out")), temp_.file("hub"));
  EXPECT_EQ(report.without_family, "");
  EXPECT_EQ(report.tensors, report_.tensors);
  const auto before = contents(golden_folder(GetParam())), after = contents(temp_.file("hub"));
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, tensor] : before) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_EQ(after.at(name).first.shape, tensor.first.shape) << name;
    EXPECT_EQ(after.at(name).first.dtype, tensor.first.dtype) << name;
    EXPECT_EQ(after.at(name).second, tensor.second) << name;
  }
  // And once more: the exported folder is the same model to us.
  import_model(open_hub_folder(temp_.file("hub")), temp_.file("again"));
  EXPECT_EQ(open_hub_folder(temp_.file("hub")).description, open_hub_folder(golden_folder(GetParam())).description);
  expect_same_bits(values_of(temp_.file("again")), values_of(temp_.file("out")), "parameters");
}

INSTANTIATE_TEST_SUITE_P(Families, HubImport,
                         ::testing::Values("llama_tied", "llama_shards", "llama_bf16", "mistral", "qwen2", "qwen3",
                                           "dots1", "granite", "granitemoe", "mixtral", "mixtral_window", "qwen2_moe",
                                           "qwen3_moe", "qwen3_moe_one_expert", "olmoe"),
                         [](const auto& info) { return std::string(info.param); });

// Routers are kept in f32, but one that came in bf16 goes back in it.
TEST(HubImportBf16, AModelInBf16ComesBackInBf16) {
  const TempDir temp;
  std::vector<NamedTensor> tensors;
  std::deque<std::vector<bf16>> rounded;
  const SafetensorsReader reader(golden_folder("mixtral") + "/model.safetensors");
  for (const auto& entry : reader.entries()) {
    const auto* values = static_cast<const float*>(reader.view(entry.name).data);
    auto& half = rounded.emplace_back();
    for (int64_t i = 0; i < element_count(entry.shape); ++i) half.push_back(bf16(values[i]));
    tensors.push_back({entry.name, {DType::bf16, entry.shape, half.data()}});
  }
  fs::create_directories(temp.file("hub"));
  fs::copy(golden_folder("mixtral") + "/config.json", temp.file("hub/config.json"));
  write_safetensors(temp.file("hub/model.safetensors"), tensors);
  EXPECT_EQ(import_model(open_hub_folder(temp.file("hub")), temp.file("out")).dtype, DType::bf16);
  convert_checkpoint(open(temp.file("out")), temp.file("back"));
  const auto before = contents(temp.file("hub")), after = contents(temp.file("back"));
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, tensor] : before) {
    EXPECT_EQ(after.at(name).first.dtype, DType::bf16) << name;
    EXPECT_EQ(after.at(name).second, tensor.second) << name;
  }
}

// A stack of experts of another shape is refused as a whole, though its elements would suffice.
TEST(HubImportStack, AnotherShapeIsNamedWithBoth) {
  const TempDir temp;
  const std::string stack = "model.layers.1.block_sparse_moe.input_linear.weight";
  const SafetensorsReader reader(golden_folder("granitemoe") + "/model.safetensors");
  std::vector<NamedTensor> tensors;
  for (const auto& entry : reader.entries()) {
    tensors.push_back({entry.name, reader.view(entry.name)});
    if (entry.name == stack) std::swap(tensors.back().view.shape[1], tensors.back().view.shape[2]);
  }
  fs::create_directories(temp.file("hub"));
  fs::copy(golden_folder("granitemoe") + "/config.json", temp.file("hub/config.json"));
  write_safetensors(temp.file("hub/model.safetensors"), tensors);
  expect_user_error([&] { import_model(open_hub_folder(temp.file("hub")), temp.file("out")); },
                    {stack, "[3, 16, 40]", "[3, 40, 16]"});
  EXPECT_FALSE(fs::exists(temp.file("out")));
}

// A copy of a golden folder of one file, changed before it is imported.
class BrokenFolder : public ::testing::Test {
 protected:
  BrokenFolder() { fs::copy(golden_folder("llama_tied"), temp_.file("hub")); }
  std::string file() const { return temp_.file("hub/model.safetensors"); }
  // Rewrites the weights after `change` of the list of tensors.
  void rewrite(const std::function<void(std::vector<NamedTensor>&)>& change) {
    const SafetensorsReader reader(golden_folder("llama_tied") + "/model.safetensors");
    std::vector<NamedTensor> tensors;
    for (const auto& entry : reader.entries()) tensors.push_back({entry.name, reader.view(entry.name)});
    change(tensors);
    write_safetensors(file(), tensors);
  }
  void set_config(const std::string& key, const Json& value) {
    Json config = Json::parse(read_bytes(temp_.file("hub/config.json")));
    config[key] = value;
    write_bytes(temp_.file("hub/config.json"), config.dump());
  }
  void refused(const std::vector<std::string>& fragments) {
    expect_user_error([&] { import_model(open_hub_folder(temp_.file("hub")), temp_.file("out")); }, fragments);
    EXPECT_EQ(std::distance(fs::directory_iterator(temp_.path()), {}), 1) << "something is left beside the source";
  }
  static NamedTensor& find(std::vector<NamedTensor>& tensors, const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const NamedTensor& t) { return t.name == name; });
  }

  TempDir temp_;
};

const char* const kNorm = "model.layers.1.input_layernorm.weight";
const char* const kQuery = "model.layers.0.self_attn.k_proj.weight";

TEST_F(BrokenFolder, AMissingTensorIsNamed) {
  rewrite([](auto& tensors) { std::erase_if(tensors, [](const NamedTensor& t) { return t.name == kNorm; }); });
  refused({temp_.file("hub"), "lacks", kNorm});
}

TEST_F(BrokenFolder, AnExtraTensorIsNamed) {
  rewrite([](auto& tensors) { tensors.push_back({"model.layers.0.self_attn.q_proj.bias", tensors[0].view}); });
  refused({temp_.file("hub"), "model.layers.0.self_attn.q_proj.bias", "no place"});
}

TEST_F(BrokenFolder, RotaryFrequenciesOfOldFilesAreNotMissed) {
  rewrite([](auto& tensors) { tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", tensors[0].view}); });
  EXPECT_EQ(import_model(open_hub_folder(temp_.file("hub")), temp_.file("out")).tensors, 20);
}

TEST_F(BrokenFolder, ATransposedTensorIsNamedWithBothShapes) {
  rewrite([](auto& tensors) { find(tensors, kQuery).view.shape = {16, 8}; });
  refused({kQuery, "[16, 8]", "[8, 16]"});
}

TEST_F(BrokenFolder, AnotherTypeIsNamed) {
  rewrite([](auto& tensors) { find(tensors, kQuery).view.dtype = DType::i32; });
  refused({kQuery, "i32"});
}

TEST_F(BrokenFolder, ANumberThatIsNoneIsNamedWithItsPlace) {
  std::vector<float> values(16, 1.0f);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  rewrite([&](auto& tensors) { find(tensors, kNorm).view.data = values.data(); });
  refused({"element 3", kNorm, "nan"});
}

TEST_F(BrokenFolder, ATruncatedFileIsOne) {
  fs::resize_file(file(), fs::file_size(file()) - 4);
  refused({file(), "truncated"});
}

TEST_F(BrokenFolder, AHugeHeaderIsRefusedWithoutReadingIt) {
  std::string bytes = read_bytes(file());
  std::memset(bytes.data(), 0x7f, 8);
  write_bytes(file(), bytes);
  refused({file(), "impossible header length"});
}

TEST_F(BrokenFolder, AConfigThatContradictsTheTensorsIsSeen) {
  set_config("intermediate_size", 24);
  refused({"model.layers.0.mlp.gate_proj.weight", "[20, 16]", "[24, 16]"});
  set_config("intermediate_size", 20);
  set_config("num_hidden_layers", 1);
  refused({"model.layers.1.", "no place"});
  set_config("num_hidden_layers", 2);
  set_config("tie_word_embeddings", false);
  refused({"lacks", "lm_head.weight"});
}

TEST_F(BrokenFolder, AConfigThatIsNotOneOfAModelIsSeen) {
  set_config("num_key_value_heads", 3);
  refused({temp_.file("hub"), "num_key_value_heads: 3 does not divide num_attention_heads 4"});
}

TEST_F(BrokenFolder, TheTokenizerIsCarriedAlongAndNamed) {
  const std::string tokenizer = SY_SOURCE_DIR "/tests/golden/tokenizers/gpt2.json";
  fs::copy(tokenizer, temp_.file("hub/tokenizer.json"));
  import_model(open_hub_folder(temp_.file("hub")), temp_.file("out"));
  EXPECT_EQ(load_config(temp_.file("out/config.yaml"), {}).data.tokenizer, temp_.file("out/tokenizer.json"));
  EXPECT_EQ(read_bytes(temp_.file("out/tokenizer.json")), read_bytes(tokenizer));
}

TEST(HubImportPaths, AConfigNamesItsFolderAsItWasGiven) {
  const TempDir temp;
  fs::copy(golden_folder("llama_tied"), temp.file("hub"));
  fs::copy(SY_SOURCE_DIR "/tests/golden/tokenizers/gpt2.json", temp.file("hub/tokenizer.json"));
  const std::string given = fs::relative(temp.file("out")).string();
  import_model(open_hub_folder(temp.file("hub")), given);
  const Config config = load_config(given + "/config.yaml", {});
  EXPECT_EQ(config.checkpoint.pretrained_checkpoint, given);
  EXPECT_EQ(config.data.tokenizer, given + "/tokenizer.json");
}

// Models of no family: exported as ours and read back.
class OwnModel : public ::testing::TestWithParam<std::vector<std::string>> {};

TEST_P(OwnModel, ComesBackWithEverySettingAndWeight) {
  const TempDir temp;
  ToyRun trained(toy_config(GetParam()));
  trained.curve(1, 2);
  CheckpointState state;
  state.step = 2;
  state.config_text = print_config(trained.config());
  const CheckpointReader reader(
      save_checkpoint(trained.ctx(), trained.decoder(), trained.optimizer(), temp.file("checkpoints"), state, 0));
  EXPECT_EQ(convert_checkpoint(reader, temp.file("hub")).model_type, kOwnModelType);
  import_model(open_hub_folder(temp.file("hub")), temp.file("out"));
  Config back = load_config(temp.file("out/config.yaml"), {});
  EXPECT_EQ(first_model_difference(trained.config(), back), "");
  EXPECT_EQ(print_fields([&](Fields& f) { describe(back.moe, f); }),
            print_fields([config = trained.config()](Fields& f) mutable { describe(config.moe, f); }));
  back = trained.config();
  back.train.seed = 99;
  ToyRun read(back);
  load_pretrained(read.ctx(), read.decoder(), back, open(temp.file("out")));
  expect_same_bits(read.parameters(), trained.parameters(), "parameters");
  expect_same_bits(read.router_state(), trained.router_state(), "router state");
}

INSTANTIATE_TEST_SUITE_P(
    Models, OwnModel,
    ::testing::Values(std::vector<std::string>{}, std::vector<std::string>{"moe.router={type: hash}"},
                      std::vector<std::string>{
                          "moe.router={type: sigmoid_topk, routed_scaling_factor: 2.5}",
                          "moe.hooks=[{type: selection_bias, update_rate: 0.05}]",
                          "moe.balance=[{type: load_balancing, coefficient: 0.1}, {type: z_loss, coefficient: 0.01}]"},
                      std::vector<std::string>{"moe.capacity={type: position, factor: 0.9}",
                                               "model.rope_scaling={type: linear, factor: 4}",
                                               "model.qk_norm_scope=all_heads", "model.tie_word_embeddings=true"},
                      std::vector<std::string>{"model.sliding_window=6", "model.qkv_bias=true",
                                               "model.embedding_multiplier=2", "moe.shared_expert_gate=true"},
                      std::vector<std::string>{"moe.expert_intermediate_sizes=[16, 24, 16, 24, 16, 16]",
                                               "moe.moe_intermediate_size=null"},
                      std::vector<std::string>{"moe.num_experts=0", "moe.num_experts_per_tok=null",
                                               "moe.moe_intermediate_size=null", "moe.first_k_dense_replace=null",
                                               "moe.shared_expert_intermediate_size=null",
                                               "model.qk_norm_scope=all_heads"}));

TEST(OwnModelConfig, WhatContradictsItselfOrIsUnknownIsNamed) {
  const Json good = {
      {"model_type", kOwnModelType}, {"vocab_size", 37},
      {"hidden_size", 32},           {"num_hidden_layers", 2},
      {"num_attention_heads", 4},    {"num_experts", 4},
      {"moe_intermediate_size", 16}, {"router", {{"type", "sigmoid_topk"}, {"routed_scaling_factor", 2.5}}},
      {"routed_scaling_factor", 2.5}};
  const TempDir temp;
  fs::create_directories(temp.file("hub"));
  const auto refused = [&](const std::string& key, const Json& value, const std::vector<std::string>& fragments) {
    Json config = good;
    config[key] = value;
    write_bytes(temp.file("hub/config.json"), config.dump());
    write_safetensors(temp.file("hub/model.safetensors"), {});
    expect_user_error([&] { import_model(open_hub_folder(temp.file("hub")), temp.file("out")); }, fragments);
  };
  refused("routed_scaling_factor", 2, {"config.json", "routed_scaling_factor is 2 and, in router, 2.5"});
  refused("num_expert", 4, {temp.file("hub"), "num_expert"});
  refused("model_type", "switchyards", {"config.json", "'switchyards' is no family"});
  refused("hidden_act", "gelu", {"config.json", "hidden_act"});
  refused("vocab_size", 37, {"lacks the tensor"});  // sound, without its weights
}

}  // namespace
}  // namespace sy::testing
