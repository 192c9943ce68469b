// Pre-tokenizers of tokenizer.json: cut normalised text into the words within which merges happen. Supported: Split,
// Digits, Metaspace, ByteLevel (last) and Sequence. ByteLevel's alphabet, one printable character per byte, is applied
// to the vocabulary when it is read, not to the text: words stay bytes.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sy {

struct Component;

// A word, and whether it starts where the whole text starts.
struct Word {
  std::string_view text;
  bool at_start = false;
};

class PreTokenizer {
 public:
  // Reused from call to call; words point into the text or into `changed`.
  struct Buffers {
    std::vector<Word> words, next;
    std::deque<std::string> changed;
  };

  explicit PreTokenizer(const Component& component);  // null: the text is one word

  // The words of `text`, none of them empty; valid until the next call with the same buffers.
  const std::vector<Word>& cut(std::string_view text, bool at_start, Buffers& buffers) const;
  bool is_byte_level() const { return is_byte_level_; }

 private:
  using Stage = std::function<void(const Word&, Buffers&)>;  // appends to buffers.next
  void add(const Component& component);
  void add_byte_level(const Component& component);
  void add_metaspace(const Component& component);

  std::vector<Stage> stages_;
  bool is_byte_level_ = false;
};

}  // namespace sy
