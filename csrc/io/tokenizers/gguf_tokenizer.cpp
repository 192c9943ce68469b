#include "csrc/io/tokenizers/gguf_tokenizer.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "csrc/core/check.h"

namespace sy {

namespace {

using Json = nlohmann::ordered_json;

// tokenizer.ggml.token_type of what is matched in the text as a whole.
constexpr int kControl = 3, kUserDefined = 4;

// Llama 3's words; Qwen 2's differ in numbers, which are cut into single digits.
std::string words_of(const std::string& numbers) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + numbers +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json split_then_bytes(const std::string& regex) {
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, byte_level(false)}}};
}

Json pre_tokenizer(const std::string& name, const std::string& path) {
  if (name == "gpt-2" || name == "olmo" || name == "mpt") return byte_level(true);
  if (name == "smollm")
    return {{"type", "Sequence"},
            {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}}};
  if (name == "llama-bpe") return split_then_bytes(words_of(R"(\p{N}{1,3})"));
  if (name == "qwen2") return split_then_bytes(words_of(R"(\p{N})"));
  user_error("'{}': tokenizer.ggml.pre '{}' is not supported; gpt-2, olmo, mpt, smollm, llama-bpe and qwen2 are", path,
             name);
}

template <class T>
T get(const nlohmann::json& metadata, const std::string& name, const std::string& path) {
  const std::string key = "tokenizer.ggml." + name;
  if (!metadata.contains(key)) user_error("'{}' has a tokenizer without {}", path, key);
  try {
    return metadata.at(key).get<T>();
  } catch (const nlohmann::json::exception&) {
    user_error("'{}': {} is a {}, which it must not be", path, key, metadata.at(key).type_name());
  }
}

const std::string& token(const std::vector<std::string>& tokens, uint64_t id, const char* what,
                         const std::string& path) {
  if (id >= tokens.size()) user_error("'{}': {} is {}, but there are {} tokens", path, what, id, tokens.size());
  return tokens[id];
}

}  // namespace

std::map<std::string, std::string> gguf_tokenizer_files(const nlohmann::json& metadata, const std::string& path) {
  if (!metadata.contains("tokenizer.ggml.model")) return {};
  if (const auto model = get<std::string>(metadata, "model", path); model != "gpt2")
    user_error("'{}': tokenizer.ggml.model '{}' is not supported; gpt2 (byte-level BPE) is", path, model);
  const auto pre = get<std::string>(metadata, "pre", path);
  const auto tokens = get<std::vector<std::string>>(metadata, "tokens", path);
  const auto types = get<std::vector<int>>(metadata, "token_type", path);
  const auto merges = get<std::vector<std::string>>(metadata, "merges", path);
  if (types.size() != tokens.size())
    user_error("'{}': {} tokens, but {} in tokenizer.ggml.token_type", path, tokens.size(), types.size());

  Json added = Json::array();
  std::map<std::string, std::size_t> ids;  // in order, as a vocabulary of an ordered object is searched from its front
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (const auto [it, is_new] = ids.emplace(tokens[id], id); !is_new)
      user_error("'{}': tokens {} and {} have the same text", path, it->second, id);
    if (types[id] == kControl || types[id] == kUserDefined)
      added.push_back({{"id", id},
                       {"content", tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", types[id] == kControl}});
  }
  Json file = {{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", added},
               {"normalizer", pre == "qwen2" ? Json({{"type", "NFC"}}) : Json()},
               {"pre_tokenizer", pre_tokenizer(pre, path)},
               {"post_processor", nullptr},
               {"decoder", byte_level(true)},
               {"model",
                {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", nullptr},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", false},
                 {"byte_fallback", false},
                 {"ignore_merges", pre == "llama-bpe"},
                 {"vocab", nlohmann::json(ids)},
                 {"merges", merges}}}};
  if (metadata.value("tokenizer.ggml.add_bos_token", nlohmann::json(false)) == true) {
    const auto id = get<uint64_t>(metadata, "bos_token_id", path);
    const std::string& bos = token(tokens, id, "tokenizer.ggml.bos_token_id", path);
    file["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"pair", Json::array()},
        {"special_tokens", {{bos, {{"id", bos}, {"ids", Json::array({id})}, {"tokens", Json::array({bos})}}}}}};
  }
  const std::string& eos =
      token(tokens, get<uint64_t>(metadata, "eos_token_id", path), "tokenizer.ggml.eos_token_id", path);
  try {
    return {{"tokenizer.json", file.dump()}, {"tokenizer_config.json", Json({{"eos_token", eos}}).dump(2) + "\n"}};
  } catch (const nlohmann::json::exception&) {
    user_error("'{}': a token or a merge is not UTF-8", path);
  }
}

}  // namespace sy
