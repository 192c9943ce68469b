// Added tokens of tokenizer.json: texts such as <|endoftext|> that are one token wherever they stand. Those with
// normalized = false are looked for in the text as it is, the others in the normalised text. At each position the
// longest matches; lstrip and rstrip take the white space beside it in; single_word wants no letter beside it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "csrc/io/tokenizers/regex.h"
#include "csrc/io/tokenizers/vocabulary.h"

namespace sy {

struct Component;
class Normalizer;

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
};

std::vector<AddedToken> read_added_tokens(const Component& root);

// A part of a text: an added token, or (token = -1) text between them.
struct TextPart {
  std::string_view text;
  int32_t token = -1;
};

class AddedTokens {
 public:
  // Of `tokens` those with this value of `normalized`; normalised contents if it is true.
  AddedTokens(const std::vector<AddedToken>& tokens, bool normalized, const Normalizer& normalizer);

  // Appends the parts of `text`, in order, none of them empty.
  void cut(std::string_view text, std::vector<TextPart>& parts) const;

 private:
  const TextMap<AddedToken>::value_type* longest_at(std::string_view text, std::size_t at) const;
  bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) const;

  TextMap<AddedToken> tokens_;
  std::array<std::vector<std::size_t>, 256> lengths_;  // of the tokens that start with a byte, longest first
  Regex word_character_;
};

}  // namespace sy
