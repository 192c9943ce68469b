#include "csrc/io/tokenizers/hf_tokenizer.h"

#include "csrc/io/file.h"
#include "csrc/io/tokenizers/component.h"
#include "csrc/io/tokenizers/special_ids.h"
#include "csrc/io/tokenizers/utf8.h"

namespace sy {
namespace {

const nlohmann::json kNull;

nlohmann::json parse_file(const std::string& path) {
  const std::string text = read_text_file(path);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    user_error("{}: not valid JSON from byte {} on", path, error.byte);
  }
}

// A missing section is the same as null.
Component section(const Component& root, const char* key) {
  return root.json.contains(key) ? root.child(key) : Component{kNull, root.file, key};
}

Component bpe_model(const Component& root) {
  if (!root.json.is_object()) user_error("{}: not a tokenizer.json: no JSON object", root.file);
  root.allow({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
              "decoder", "model"});
  for (const char* key : {"truncation", "padding"})
    if (!section(root, key).is_null()) user_error("{}: '{}' is not supported: set it to null", root.file, key);
  const Component model = root.child("model");
  // Files of early versions name no type when it is BPE.
  if (model.json.is_object() && model.get("type", std::string("BPE")) != "BPE") model.refuse_type("BPE");
  return model;
}

std::vector<std::string> tokens_by_id(const Component& root, const std::vector<AddedToken>& added) {
  std::vector<std::string> tokens;
  const auto put = [&](int32_t id, const std::string& text) {
    if (tokens.size() <= static_cast<std::size_t>(id)) tokens.resize(static_cast<std::size_t>(id) + 1);
    tokens[static_cast<std::size_t>(id)] = text;
  };
  for (const auto& item : root.child("model").child("vocab").json.items()) put(item.value().get<int32_t>(), item.key());
  for (const AddedToken& token : added) put(token.id, token.content);
  return tokens;
}

// What the decoder starts from: the reference decodes a normalised added token to its normalised content.
std::vector<std::string> decoder_tokens(std::vector<std::string> tokens, const std::vector<AddedToken>& added,
                                        const Normalizer& normalizer) {
  std::string storage;
  for (const AddedToken& token : added)
    if (token.normalized) tokens[static_cast<std::size_t>(token.id)] = normalizer.apply(token.content, storage);
  return tokens;
}

}  // namespace

HfTokenizer::HfTokenizer(const std::string& path) : HfTokenizer(path, Component{parse_file(path), path, ""}) {}

HfTokenizer::HfTokenizer(const std::string& path, const Component& root)
    : path_(path),
      normalizer_((bpe_model(root), section(root, "normalizer"))),
      pre_tokenizer_(section(root, "pre_tokenizer")),
      bpe_(bpe_model(root), pre_tokenizer_.is_byte_level()),
      added_(read_added_tokens(root)),
      added_in_text_(added_, /*normalized=*/false, normalizer_),
      added_in_normalized_(added_, /*normalized=*/true, normalizer_),
      tokens_(tokens_by_id(root, added_)),
      decoder_(section(root, "decoder"), decoder_tokens(tokens_, added_, normalizer_)),
      eod_id_(find_eod_id(path, tokens_)),
      special_ids_(read_special_ids(section(root, "post_processor"))) {}

std::unique_ptr<HfTokenizer::Workspace> HfTokenizer::take_workspace() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Workspace>();
  auto workspace = std::move(idle_.back());
  idle_.pop_back();
  return workspace;
}

void HfTokenizer::encode_append(std::string_view text, std::vector<int32_t>& ids) const {
  auto workspace = take_workspace();
  const std::string_view valid = repair_utf8(text, workspace->repaired);
  workspace->parts.clear();
  added_in_text_.cut(valid, workspace->parts);
  for (const TextPart& part : workspace->parts) {
    if (part.token >= 0) {
      ids.push_back(part.token);
    } else {
      encode_text(part, part.text.data() == valid.data(), *workspace, ids);
    }
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

// Text between added tokens that are not normalised.
void HfTokenizer::encode_text(const TextPart& part, bool at_start, Workspace& workspace,
                              std::vector<int32_t>& ids) const {
  const std::string_view normalized = normalizer_.apply(part.text, workspace.normalized);
  workspace.inner_parts.clear();
  added_in_normalized_.cut(normalized, workspace.inner_parts);
  for (const TextPart& inner : workspace.inner_parts) {
    if (inner.token >= 0) {
      ids.push_back(inner.token);
      continue;
    }
    const bool is_first = at_start && inner.text.data() == normalized.data();
    for (const Word& word : pre_tokenizer_.cut(inner.text, is_first, workspace.words))
      bpe_.encode(word.text, workspace.bpe, ids);
  }
}

void HfTokenizer::check_id(int32_t id) const {
  if (id < 0 || id >= vocab_size()) user_error("token id {} is outside the {} ids of {}", id, vocab_size(), path_);
}

void HfTokenizer::decode_append(int32_t id, DecodeState& state, std::string& text) const {
  check_id(id);
  if (id != eod_id_) decoder_.append(id, state, text);
}

int64_t HfTokenizer::token_bytes(int32_t id) const {
  check_id(id);
  return id == eod_id_ ? 0 : static_cast<int64_t>(decoder_.bytes(id).size());
}

}  // namespace sy
