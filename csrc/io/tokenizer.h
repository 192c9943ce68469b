// Tokenizers: text bytes <-> token ids. A tokenizer is named by a spec string that is kept in configs and checkpoints:
//   "bytes"   every byte is its own id (0..255), end of document is 256, vocabulary 257; any input is valid.
// make_tokenizer(t->spec()) gives the same tokenizer again. encode and decode are pure and may run on several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sy {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the ids of `text` (raw bytes, any encoding) to `ids`; never adds an end-of-document id.
  virtual void encode_append(std::string_view text, std::vector<int32_t>& ids) const = 0;
  // The bytes of `ids`; the end-of-document id decodes to nothing. An id outside the vocabulary throws UserError.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int32_t eod_id() const = 0;
  virtual std::string spec() const = 0;

  std::vector<int32_t> encode(std::string_view text) const {
    std::vector<int32_t> ids;
    encode_append(text, ids);
    return ids;
  }
};

// The tokenizer of a spec string; an unknown spec throws UserError naming the known ones.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec);

}  // namespace sy
