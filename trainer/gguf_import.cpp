#include "trainer/gguf_import.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "csrc/io/gguf.h"
#include "csrc/io/tokenizers/gguf_tokenizer.h"

namespace sy {

namespace {

using Json = nlohmann::json;

// A GGUF file whose query and key projections have their rows as Hugging Face has them.
class HubOrdered final : public TensorSource {
 public:
  HubOrdered(std::unique_ptr<GgufFile> file, int64_t heads, int64_t kv_heads)
      : file_(std::move(file)), heads_(heads), kv_heads_(kv_heads) {}

  std::string path() const override { return file_->path(); }
  const std::vector<SourceTensor>& tensors() const override { return file_->tensors(); }
  void read(size_t i, void* dst) const override {
    file_->read(i, dst);
    const SourceTensor& t = tensors()[i];
    const int64_t heads = t.name.ends_with(".attn_q.weight")   ? heads_
                          : t.name.ends_with(".attn_k.weight") ? kv_heads_
                                                               : 0;
    if (heads == 0 || t.shape.size() != 2) return;  // of another shape: refused by who knows the right one
    const int64_t half = t.shape[0] / heads / 2;
    const auto row_bytes = static_cast<size_t>(t.shape[1] * dtype_bytes(t.dtype));
    auto* rows = static_cast<std::byte*>(dst);
    const std::vector<std::byte> stored(rows, rows + static_cast<size_t>(t.shape[0]) * row_bytes);
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t j = 0; j < half; ++j)
        for (int64_t p = 0; p < 2; ++p) {
          const int64_t to = (2 * h + p) * half + j, from = 2 * (h * half + j) + p;
          std::memcpy(rows + static_cast<size_t>(to) * row_bytes, stored.data() + static_cast<size_t>(from) * row_bytes,
                      row_bytes);
        }
  }

 private:
  std::unique_ptr<GgufFile> file_;
  int64_t heads_, kv_heads_;
};

// The keys llama.* of the metadata, each taken once.
class LlamaKeys {
 public:
  explicit LlamaKeys(const GgufFile& file) : path_(file.path()) {
    for (const auto& [key, value] : file.metadata().items())
      if (key.starts_with("llama.")) open_[key] = value;
  }
  Json take(const std::string& name, const Json& absent = nullptr) {
    const auto it = open_.find("llama." + name);
    if (it == open_.end()) {
      if (absent.is_null()) user_error("'{}' has no llama.{}", path_, name);
      return absent;
    }
    const Json value = it->second;
    if (!value.is_string() && !value.is_number())
      user_error("'{}': llama.{} is a {}; only one value for all layers is supported", path_, name, value.type_name());
    open_.erase(it);
    return value;
  }
  int64_t take_count(const std::string& name, const Json& absent = nullptr) {
    const Json value = take(name, absent);
    if (!value.is_number_integer() || value < 1 || value > 1 << 24)
      user_error("'{}': llama.{} is {}, no count", path_, name, value.dump());
    return value.get<int64_t>();
  }
  // The shortest decimal that the file's f32 is: 1e-5 shall not become 9.999999747378752e-06.
  double take_number(const std::string& name, const Json& absent = nullptr) {
    const Json value = take(name, absent);
    if (!value.is_number()) user_error("'{}': llama.{} is {}, no number", path_, name, value.dump());
    return std::stod(fmt::format("{}", value.get<float>()));
  }
  void require(const std::string& name, const Json& only) {
    if (const Json value = take(name, only); value != only)
      user_error("'{}': llama.{} is {}; only {} is supported", path_, name, value.dump(), only.dump());
  }
  void require_empty() const {
    if (!open_.empty())
      user_error("'{}': {} is not understood, and the model could come out wrong without it", path_,
                 open_.begin()->first);
  }

 private:
  std::string path_;
  std::map<std::string, Json> open_;
};

int64_t vocabulary_rows(const GgufFile& file) {
  for (const SourceTensor& t : file.tensors())
    if (t.name == "token_embd.weight" && t.shape.size() == 2) return t.shape[0];
  user_error("'{}' lacks the matrix 'token_embd.weight'", file.path());
}

bool has_tensor(const GgufFile& file, const std::string& name) {
  for (const SourceTensor& t : file.tensors())
    if (t.name == name) return true;
  return false;
}

std::string name_in_gguf(const std::string& ours) {
  static const std::map<std::string, std::string> whole = {{"model.embed_tokens.weight", "token_embd.weight"},
                                                           {"model.norm.weight", "output_norm.weight"},
                                                           {"lm_head.weight", "output.weight"}};
  static const std::map<std::string, std::string> in_layer = {
      {"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},   {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},   {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},    {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  if (const auto it = whole.find(ours); it != whole.end()) return it->second;
  const std::string prefix = "model.layers.", suffix = ".weight";
  const size_t dot = ours.find('.', prefix.size());
  const std::string layer = ours.substr(prefix.size(), dot - prefix.size());
  const auto it = in_layer.find(ours.substr(dot + 1, ours.size() - dot - 1 - suffix.size()));
  SY_CHECK(it != in_layer.end(), "'{}' is no tensor of a Llama", ours);
  return "blk." + layer + "." + it->second + ".weight";
}

}  // namespace

ForeignModel open_gguf(const std::string& path) {
  auto file = std::make_unique<GgufFile>(path);
  const Json architecture = file->metadata().value("general.architecture", Json());
  if (architecture != "llama")
    user_error(
        "'{}': general.architecture is {}; only \"llama\" is supported", path,
        architecture.is_string() ? architecture.dump(-1, ' ', false, Json::error_handler_t::replace) : "missing");
  LlamaKeys keys(*file);
  const int64_t heads = keys.take_count("attention.head_count"),
                kv_heads = keys.take_count("attention.head_count_kv", heads),
                width = keys.take_count("embedding_length"),
                head_dim = keys.take_count("attention.key_length", std::max<int64_t>(1, width / heads)),
                vocabulary = vocabulary_rows(*file);
  nlohmann::ordered_json model = {{"vocab_size", vocabulary},
                                  {"hidden_size", width},
                                  {"intermediate_size", keys.take_count("feed_forward_length")},
                                  {"num_hidden_layers", keys.take_count("block_count")},
                                  {"num_attention_heads", heads},
                                  {"num_key_value_heads", kv_heads},
                                  {"head_dim", head_dim},
                                  {"rms_norm_eps", keys.take_number("attention.layer_norm_rms_epsilon")},
                                  {"rope_theta", keys.take_number("rope.freq_base", 10000.0)},
                                  {"max_position_embeddings", keys.take_count("context_length")},
                                  {"tie_word_embeddings", !has_tensor(*file, "output.weight")}};
  keys.require("attention.value_length", head_dim);
  keys.require("rope.dimension_count", head_dim);
  keys.require("vocab_size", vocabulary);
  const Json stretch = keys.take("rope.scaling.type", "none");
  if (stretch == "linear")
    model["rope_scaling"] = {{"type", "linear"}, {"factor", keys.take_number("rope.scaling.factor")}};
  else if (stretch != "none")
    user_error("'{}': llama.rope.scaling.type {} is not supported; none and linear are", path, stretch.dump());
  keys.require_empty();

  ForeignModel foreign;
  foreign.path = path;
  foreign.description = "architecture llama";
  foreign.sections = Json{{"model", model}}.dump();
  foreign.tokenizer_files = gguf_tokenizer_files(file->metadata(), path);
  foreign.tensors = std::make_unique<HubOrdered>(std::move(file), heads, kv_heads);
  foreign.name_in_source = name_in_gguf;
  return foreign;
}

}  // namespace sy
