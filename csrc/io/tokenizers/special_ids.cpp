#include "csrc/io/tokenizers/special_ids.h"

#include <algorithm>
#include <filesystem>

#include "csrc/io/file.h"
#include "csrc/io/tokenizers/component.h"

namespace sy {

namespace {

void add_special_ids(const Component& component, SpecialIds& ids) {
  if (component.is_null()) return;
  const std::string type = component.type();
  if (type == "Sequence") {
    component.allow({"processors"});
    for (const Component& child : component.children("processors")) add_special_ids(child, ids);
  } else if (type == "TemplateProcessing") {
    component.allow({"single", "pair", "special_tokens"});
    bool after = false;
    for (const Component& piece : component.children("single")) {
      if (piece.json.contains("Sequence")) {
        after = true;
        continue;
      }
      const auto name = piece.child("SpecialToken").get<std::string>("id");
      const auto of_piece = component.child("special_tokens").child(name.c_str()).get<std::vector<int32_t>>("ids");
      auto& side = after ? ids.after : ids.before;
      side.insert(side.end(), of_piece.begin(), of_piece.end());
    }
  } else if (type != "ByteLevel") {
    component.refuse_type("TemplateProcessing, ByteLevel and Sequence");
  }
}

std::string configured_eos(const std::string& path) {
  const auto beside = std::filesystem::path(path).parent_path() / "tokenizer_config.json";
  if (!std::filesystem::exists(beside)) return "";
  const auto json = nlohmann::json::parse(read_text_file(beside), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) user_error("{}: not a JSON object", beside.string());
  const Component root{json, beside, "eos_token"};
  if (json.contains("eos_token") && json["eos_token"].is_object())
    return root.child("eos_token").get<std::string>("content");
  return root.get("eos_token", std::string());
}

}  // namespace

SpecialIds read_special_ids(const Component& post_processor) {
  SpecialIds ids;
  add_special_ids(post_processor, ids);
  return ids;
}

int32_t find_eod_id(const std::string& path, const std::vector<std::string>& tokens) {
  const std::string configured = configured_eos(path);
  std::vector<std::string> names = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>"};
  if (!configured.empty()) names = {configured};
  for (const std::string& name : names) {
    const auto found = std::find(tokens.begin(), tokens.end(), name);
    if (found != tokens.end()) return static_cast<int32_t>(found - tokens.begin());
  }
  if (!configured.empty())
    user_error("{}: the eos_token '{}' of its tokenizer_config.json is not among its tokens", path, configured);
  user_error("{}: no end-of-document token: name it as eos_token in a tokenizer_config.json beside the file", path);
}

}  // namespace sy
