// Tokenizers: text bytes <-> token ids. A tokenizer is named by a spec string that is kept in configs and checkpoints:
//   "bytes"                   every byte is its own id (0..255), end of document is 256, vocabulary 257; any input is
//                             valid.
//   "path/to/tokenizer.json"  a Hugging Face tokenizer with a BPE model (csrc/io/tokenizers/hf_tokenizer.h).
// make_tokenizer(t->spec()) gives the same tokenizer again. All const members may run on several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sy {

// What decoding token by token carries from one token to the next.
struct DecodeState {
  std::string pending;       // bytes that are not yet text
  int64_t num_stripped = 0;  // of the text's beginning
};

// Ids that a tokenizer puts around a text when it is asked to, such as <s>.
struct SpecialIds {
  std::vector<int32_t> before, after;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the ids of `text` (raw bytes, any encoding) to `ids`; never adds an end-of-document or other special id.
  virtual void encode_append(std::string_view text, std::vector<int32_t>& ids) const = 0;
  // Appends to `text` what `id` makes final: never a part of a code point whose rest may follow. The end-of-document id
  // decodes to nothing. An id outside the vocabulary throws UserError.
  virtual void decode_append(int32_t id, DecodeState& state, std::string& text) const = 0;
  // Appends what is still pending after the last id.
  virtual void decode_finish(DecodeState& state, std::string& text) const = 0;
  // Bytes of text that `id` stands for inside a text; 0 for the end-of-document id.
  virtual int64_t token_bytes(int32_t id) const = 0;
  virtual int64_t vocab_size() const = 0;  // the largest id + 1
  virtual int32_t eod_id() const = 0;
  virtual const SpecialIds& special_ids() const = 0;
  virtual std::string spec() const = 0;

  std::vector<int32_t> encode(std::string_view text) const;
  std::string decode(std::span<const int32_t> ids) const;
};

// The tokenizer of a spec string; an unknown spec throws UserError naming the known ones.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec);

// The same for a model with this vocabulary: UserError with both numbers if the tokenizer's does not fit into it.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec, int64_t model_vocab_size);

}  // namespace sy
