// GGUF files that hold the models of tests/golden/families as llama.cpp names and orders them
// (scripts/goldens/gguf_golden.py): they must become the same checkpoints as the Hugging Face folders.
#include "trainer/gguf_import.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "csrc/io/tokenizer.h"
#include "csrc/io/tokenizers/gguf_tokenizer.h"
#include "tests/csrc/io/io_testing.h"
#include "tests/csrc/models/part_values.h"
#include "trainer/checkpointing.h"
#include "trainer/config.h"
#include "trainer/session.h"

namespace sy::testing {
namespace {

using Json = nlohmann::json;

const std::string kGolden = SY_SOURCE_DIR "/tests/golden/";

NamedValues values_of(const std::string& folder) {
  const Config config = load_config(folder + "/config.yaml", {});
  Context ctx(DeviceType::cpu);
  Decoder decoder(ctx, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
  load_checkpoint(ctx, decoder, nullptr, CheckpointReader(resolve_checkpoint(folder)));
  return parameter_values(ctx, decoder);
}

TEST(GgufImport, BecomesTheCheckpointOfTheSameModelsFolder) {
  for (const auto& [file, folder] :
       std::map<std::string, std::string>{{"llama.gguf", "llama_shards"}, {"llama_bf16.gguf", "llama_bf16"}}) {
    const TempDir temp;
    import_model(open_gguf(kGolden + "gguf/" + file), temp.file("from_gguf"));
    import_model(open_hub_folder(kGolden + "families/" + folder), temp.file("from_folder"));
    expect_same_bits(values_of(temp.file("from_gguf")), values_of(temp.file("from_folder")), file.c_str());
    ModelConfig ours = load_config(temp.file("from_gguf") + "/config.yaml", {}).model;
    const ModelConfig theirs = load_config(temp.file("from_folder") + "/config.yaml", {}).model;
    ours.initializer_range = theirs.initializer_range;  // which llama.cpp does not keep
    EXPECT_TRUE(ours == theirs) << file;
  }
}

TEST(GgufImport, TheTokenizerGivesTheReferencesIds) {
  const TempDir temp;
  for (const auto& [name, text] : open_gguf(kGolden + "gguf/llama.gguf").tokenizer_files)
    write_bytes(temp.file(name), text);
  const auto tokenizer = make_tokenizer(temp.file("tokenizer.json"));
  const auto original = make_tokenizer(kGolden + "tokenizers/smollm.json");
  EXPECT_EQ(tokenizer->vocab_size(), original->vocab_size());
  EXPECT_EQ(tokenizer->eod_id(), 0);
  EXPECT_EQ(tokenizer->special_ids().before, (std::vector<int32_t>{0}));  // add_bos_token
  const Json texts = Json::parse(std::ifstream(kGolden + "tokenizers/texts.json"));
  int compared = 0;
  for (const std::string text : texts) {
    // Of added tokens that strip spaces or stand alone, llama.cpp's format does not keep the property.
    if (text.find("<|") != std::string::npos || text.find("word") != std::string::npos) continue;
    EXPECT_EQ(tokenizer->encode(text), original->encode(text)) << text;
    ++compared;
  }
  EXPECT_GE(compared, 15);
}

// The metadata of a sound tokenizer, to be broken.
Json metadata() {
  return {{"tokenizer.ggml.model", "gpt2"},
          {"tokenizer.ggml.pre", "gpt-2"},
          {"tokenizer.ggml.tokens", {"<|endoftext|>", "a", "b", "ab"}},
          {"tokenizer.ggml.token_type", {3, 1, 1, 1}},
          {"tokenizer.ggml.merges", Json::array({"a b"})},
          {"tokenizer.ggml.eos_token_id", 0}};
}

TEST(GgufTokenizer, RefusesWhatItDoesNotKnowOrDoesNotHoldTogether) {
  EXPECT_EQ(gguf_tokenizer_files(metadata(), "x.gguf").size(), 2u);
  EXPECT_TRUE(gguf_tokenizer_files(Json::object(), "x.gguf").empty());
  const auto refuses = [](const char* key, const Json& value, const std::vector<std::string>& fragments) {
    Json broken = metadata();
    broken[std::string("tokenizer.ggml.") + key] = value;
    expect_user_error([&] { gguf_tokenizer_files(broken, "x.gguf"); }, fragments);
  };
  refuses("model", "llama", {"x.gguf", "'llama'", "gpt2"});
  refuses("pre", "unheard", {"x.gguf", "'unheard'", "smollm"});
  refuses("tokens", Json::array({"a", "a", "b", "c"}), {"x.gguf", "tokens 0 and 1"});
  refuses("tokens", 3, {"x.gguf", "tokenizer.ggml.tokens", "number"});
  refuses("tokens", Json::array({"<|endoftext|>", "a", "b", "\xFF"}), {"x.gguf", "UTF-8"});
  refuses("token_type", Json::array({1}), {"x.gguf", "4 tokens, but 1"});
  refuses("eos_token_id", 4, {"x.gguf", "eos_token_id is 4", "4 tokens"});
  Json without = metadata();
  without.erase("tokenizer.ggml.merges");
  expect_user_error([&] { gguf_tokenizer_files(without, "x.gguf"); }, {"x.gguf", "without tokenizer.ggml.merges"});
}

// llama.gguf with one occurrence of `from` replaced by `to`, of the same length.
void refuses_changed(const std::string& from, const std::string& to, const std::vector<std::string>& fragments) {
  const TempDir temp;
  std::string bytes = read_bytes(kGolden + "gguf/llama.gguf");
  const size_t at = bytes.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  ASSERT_EQ(from.size(), to.size());
  bytes.replace(at, from.size(), to);
  write_bytes(temp.file("x.gguf"), bytes);
  expect_user_error([&] { import_model(open_gguf(temp.file("x.gguf")), temp.file("out")); }, fragments);
  EXPECT_FALSE(std::filesystem::exists(temp.file("out")));
}

TEST(GgufImport, NamesTheKeyOrTensorThatItDoesNotUnderstandAndLeavesNothing) {
  refuses_changed("general.architecture", "general.architectur_", {"x.gguf", "general.architecture", "missing"});
  refuses_changed("llama.attention.value_length", "llama.attention.value_lengtt", {"llama.attention.value_lengtt"});
  refuses_changed("llama.block_count", "llama.block_counz", {"no llama.block_count"});
  refuses_changed("linear", "yarn.o", {"llama.rope.scaling", "yarn.o"});
  refuses_changed("token_embd.weight", "token_embd.weighs", {"token_embd.weight"});
  refuses_changed("blk.1.attn_q.weight", "blk.1.attn_q.weighs", {"blk.1.attn_q.weight"});
  refuses_changed("smollm", "smolln", {"tokenizer.ggml.pre", "smolln"});
}

}  // namespace
}  // namespace sy::testing
