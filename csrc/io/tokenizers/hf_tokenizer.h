// A Hugging Face tokenizer.json with a BPE model, as GPT-2, Llama, Mistral, Qwen, DeepSeek, OLMo and SmolLM have it:
//   added tokens -> normalizer -> pre-tokenizer -> BPE, and a decoder for the way back.
// Ids equal those of the `tokenizers` library with add_special_tokens = False. Text that is not valid UTF-8 reads as if
// each broken part were U+FFFD, as Python's errors="replace" makes it. What the file asks for and is not supported is a
// UserError naming file and component. decode() keeps special tokens as text, the end-of-document id excepted.
//
// The end-of-document id is eos_token of the tokenizer_config.json beside the file; without one the first that exists
// of <|endoftext|>, <|end_of_text|>, </s>, <eos> and <｜end▁of▁sentence｜>.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "csrc/io/tokenizer.h"
#include "csrc/io/tokenizers/added_tokens.h"
#include "csrc/io/tokenizers/bpe.h"
#include "csrc/io/tokenizers/normalizer.h"
#include "csrc/io/tokenizers/pre_tokenizer.h"
#include "csrc/io/tokenizers/token_decoder.h"

namespace sy {

class HfTokenizer final : public Tokenizer {
 public:
  explicit HfTokenizer(const std::string& path);

  void encode_append(std::string_view text, std::vector<int32_t>& ids) const override;
  void decode_append(int32_t id, DecodeState& state, std::string& text) const override;
  void decode_finish(DecodeState& state, std::string& text) const override { decoder_.finish(state, text); }
  int64_t token_bytes(int32_t id) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(tokens_.size()); }
  int32_t eod_id() const override { return eod_id_; }
  const SpecialIds& special_ids() const override { return special_ids_; }
  std::string spec() const override { return path_; }

 private:
  // One thread's; kept for the next call, so that the words it has met stay known.
  struct Workspace {
    std::string repaired, normalized;
    std::vector<TextPart> parts, inner_parts;
    PreTokenizer::Buffers words;
    Bpe::Workspace bpe;
  };
  HfTokenizer(const std::string& path, const Component& root);
  std::unique_ptr<Workspace> take_workspace() const;
  void encode_text(const TextPart& part, bool at_start, Workspace& workspace, std::vector<int32_t>& ids) const;
  void check_id(int32_t id) const;

  std::string path_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  std::vector<AddedToken> added_;
  AddedTokens added_in_text_, added_in_normalized_;
  std::vector<std::string> tokens_;  // by id, as the file writes them; empty where the file leaves a gap
  TokenDecoder decoder_;
  int32_t eod_id_;
  SpecialIds special_ids_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace sy
