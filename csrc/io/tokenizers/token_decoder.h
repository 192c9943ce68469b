// Decoders of tokenizer.json: token ids back to text, one token at a time. Supported: ByteLevel, Metaspace, and a
// Sequence of Replace, ByteFallback, Fuse and Strip. Text never ends within a code point: bytes wait in the state until
// they are complete or cannot become so; then they are U+FFFD, one for each broken part, and within a run of
// byte_fallback tokens one for each of its bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/io/tokenizer.h"

namespace sy {

struct Component;

class TokenDecoder {
 public:
  // `tokens[id]` as the file writes them.
  TokenDecoder(const Component& component, const std::vector<std::string>& tokens);

  void append(int32_t id, DecodeState& state, std::string& text) const;
  void finish(DecodeState& state, std::string& text) const;
  // What the token stands for inside a text.
  const std::string& bytes(int32_t id) const { return bytes_[static_cast<std::size_t>(id)]; }

 private:
  void add_step(const Component& component);
  void emit(std::string_view part, DecodeState& state, std::string& text) const;

  std::vector<std::string> bytes_;
  std::vector<bool> is_fallback_;  // <0x0A> and the like
  bool is_byte_level_ = false, is_fused_ = false;
  std::string stripped_;  // the text loses up to max_stripped_ of these at its start
  int64_t max_stripped_ = 0;
};

}  // namespace sy
