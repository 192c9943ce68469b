#include "csrc/io/tokenizers/token_decoder.h"

#include "csrc/io/tokenizers/component.h"
#include "csrc/io/tokenizers/pattern.h"
#include "csrc/io/tokenizers/utf8.h"
#include "csrc/io/tokenizers/vocabulary.h"

namespace sy {

TokenDecoder::TokenDecoder(const Component& component, const std::vector<std::string>& tokens)
    : bytes_(tokens), is_fallback_(tokens.size(), false) {
  if (component.is_null()) user_error("{}: a tokenizer without a decoder is not supported", component.place());
  if (component.type() == "Sequence") {
    component.allow({"decoders"});
    for (const Component& child : component.children("decoders")) add_step(child);
  } else {
    add_step(component);
  }
}

void TokenDecoder::add_step(const Component& component) {
  const std::string type = component.type();
  if (is_byte_level_) user_error("{}: a decoder after ByteLevel is not supported", component.place());
  if (type == "ByteLevel") {
    component.allow({"add_prefix_space", "trim_offsets", "use_regex"});
    is_byte_level_ = true;
    for (std::string& token : bytes_)
      if (auto bytes = bytes_of_byte_level(token)) token = std::move(*bytes);
  } else if (type == "Replace") {
    component.allow({"pattern", "content"});
    const Pattern pattern(component);
    const auto content = component.get<std::string>("content");
    for (std::string& token : bytes_) token = pattern.replace(token, content);
  } else if (type == "ByteFallback") {
    component.allow({});
    TextMap<unsigned char> byte_of;
    for (int b = 0; b < 256; ++b)
      byte_of.emplace(byte_token(static_cast<unsigned char>(b)), static_cast<unsigned char>(b));
    for (std::size_t id = 0; id < bytes_.size(); ++id) {
      const auto found = byte_of.find(bytes_[id]);
      if (found == byte_of.end()) continue;
      is_fallback_[id] = true;
      bytes_[id] = std::string(1, static_cast<char>(found->second));
    }
  } else if (type == "Fuse") {
    component.allow({});
    is_fused_ = true;
  } else if (type == "Strip") {
    component.allow({"content", "start", "stop"});
    if (!is_fused_ || component.get<int64_t>("stop") != 0)
      user_error("{}: Strip is supported after Fuse and with stop = 0 only", component.place());
    stripped_ = component.get<std::string>("content");
    max_stripped_ = component.get<int64_t>("start");
  } else if (type == "Metaspace") {
    component.allow({"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
    const Pattern mark(component.get<std::string>("replacement"));
    for (std::string& token : bytes_) token = mark.replace(token, " ");
    const bool add_prefix_space = component.get("add_prefix_space", true);
    if (component.get<std::string>("prepend_scheme", add_prefix_space ? "always" : "never") != "never") {
      stripped_ = " ";
      max_stripped_ = 1;
    }
  } else {
    component.refuse_type("ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip and Sequence");
  }
}

// Text that is final, less what Strip takes from the beginning.
void TokenDecoder::emit(std::string_view part, DecodeState& state, std::string& text) const {
  while (!part.empty() && !stripped_.empty() && state.num_stripped < max_stripped_) {
    if (!part.starts_with(stripped_)) state.num_stripped = max_stripped_;
    if (state.num_stripped == max_stripped_) break;
    part.remove_prefix(stripped_.size());
    ++state.num_stripped;
  }
  text.append(part);
}

void TokenDecoder::append(int32_t id, DecodeState& state, std::string& text) const {
  const auto index = static_cast<std::size_t>(id);
  if (is_byte_level_) {
    state.pending += bytes_[index];
    const std::size_t final_bytes = state.pending.size() - unfinished_tail(state.pending);
    std::string storage;
    text.append(repair_utf8(std::string_view(state.pending).substr(0, final_bytes), storage));
    state.pending.erase(0, final_bytes);
  } else if (is_fallback_[index]) {
    state.pending += bytes_[index];
  } else {
    finish(state, text);
    emit(bytes_[index], state, text);
  }
}

void TokenDecoder::finish(DecodeState& state, std::string& text) const {
  std::string storage;
  if (is_byte_level_) {
    text.append(repair_utf8(state.pending, storage));
  } else if (repair_utf8(state.pending, storage).data() == state.pending.data()) {
    emit(state.pending, state, text);
  } else {
    for (std::size_t i = 0; i < state.pending.size(); ++i) emit(kReplacementCharacter, state, text);
  }
  state.pending.clear();
}

}  // namespace sy
