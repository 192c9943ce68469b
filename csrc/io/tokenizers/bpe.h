// Byte pair encoding: a word's characters (or bytes) become tokens, then of all neighbouring pairs that have a merge
// the one of lowest rank, leftmost first, becomes one token, until none has. O(n log n) in the word's length; words of
// up to 24 bytes are remembered. Long words, such as the whole texts of Llama 2, are cut between characters that no
// merge reaches across, as its merges never do from a letter to the sign for a space.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "csrc/io/tokenizers/vocabulary.h"

namespace sy {

struct Component;

// What a pair of tokens becomes: an open-addressing table, because every step of every merge looks here.
class MergeTable {
 public:
  struct Merge {
    int32_t rank = -1, token = -1;
  };
  explicit MergeTable(std::size_t num_merges);
  void insert(int32_t left, int32_t right, Merge merge);
  const Merge* find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    int32_t left = -1, right = -1;
    Merge merge;
  };
  std::size_t home(int32_t left, int32_t right) const;

  std::vector<Slot> slots_;
  int shift_;
};

class Bpe {
 public:
  // Reused from word to word by one thread: the symbols being merged and the words met so far.
  class Workspace;

  // `model` is the file's model; byte_level: its vocabulary is written in ByteLevel's alphabet and words are bytes.
  Bpe(const Component& model, bool byte_level);

  void encode(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const;

 private:
  struct Symbol {
    int32_t token, previous, next;
  };
  void read_merges(const Component& model, const Vocabulary& written);  // written: tokens as in the file
  void start_tokens(std::string_view word, std::vector<int32_t>& tokens) const;
  std::size_t end_of_stretch(const std::vector<int32_t>& tokens, std::size_t begin) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(Workspace& workspace) const;

  bool byte_level_, ignore_merges_, fuse_unk_, byte_fallback_;
  Vocabulary vocabulary_;  // of what words can hold: keyed by bytes if byte_level_
  int32_t unk_ = -1;
  std::vector<int32_t> byte_tokens_;  // of the 256 bytes; -1 where there is none
  MergeTable merges_{0};
  // The last character of a merge's left part and the first of its right part: only there do merges reach across.
  MergeTable joints_{0};
  bool has_joints_ = true;  // false if a merge has a part that may start otherwise than as its characters
};

class Bpe::Workspace {
 public:
  Workspace() : cache_(kCacheWords) {}

 private:
  friend class Bpe;
  // A direct-mapped cache: one word per slot, 64 bytes each, so that memory stays bounded.
  static constexpr std::size_t kCacheWords = 1 << 16, kCachedBytes = 24, kCachedTokens = 9;
  struct alignas(64) Entry {
    char word[kCachedBytes];
    uint8_t bytes = 0, tokens = 0;
    int32_t ids[kCachedTokens];
  };
  struct Candidate {
    int32_t rank, position, token;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  std::vector<Entry> cache_;
  std::vector<int32_t> tokens_;  // of the whole word, before merges
  std::vector<Symbol> symbols_;  // of the stretch being merged
  std::vector<Candidate> heap_;
};

}  // namespace sy
