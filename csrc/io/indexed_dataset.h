// Token corpora in Megatron-LM's indexed format: <prefix>.bin holds the tokens, <prefix>.idx says where sequences and
// documents begin. Little endian, arrays unaligned:
//   .idx  "MMIDIDX\0\0" | version u64 = 1 | dtype code u8 | sequences n u64 | document entries m u64
//         | sizes i32[n] in tokens | pointers i64[n] in bytes | document entries i64[m]: 0, then each document's end
//         as a sequence number, so m = documents + 1
//   .bin  the sequences' tokens back to back: pointer[i] = bytes of all sequences before i
// Both directions are exact: a file made here equals one made by Megatron's writer byte for byte.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "csrc/io/file.h"

namespace sy {

// Element types by their code in the file. Readers accept the integer ones.
enum class TokenDtype : uint8_t {
  kUint8 = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kFloat64 = 6,
  kFloat32 = 7,
  kUint16 = 8,
};

int64_t token_dtype_bytes(TokenDtype dtype);
const char* token_dtype_name(TokenDtype dtype);
// What Megatron's tool picks: uint16 below 65500 ids, int32 from there on.
TokenDtype token_dtype_for_vocab(int64_t vocab_size);

// Writes a corpus token by token. Tokens go to temporary files beside the target; finish() fsyncs and renames them, so
// a complete pair appears or nothing does. Destroyed before finish(), it removes its temporary files.
class IndexedDatasetBuilder {
 public:
  // Creates the parent folder. UserError if the pair exists (unless `overwrite`) or the folder cannot be written.
  IndexedDatasetBuilder(const std::string& prefix, TokenDtype dtype, bool overwrite = false);
  ~IndexedDatasetBuilder();
  IndexedDatasetBuilder(const IndexedDatasetBuilder&) = delete;
  IndexedDatasetBuilder& operator=(const IndexedDatasetBuilder&) = delete;

  // Appends to the open sequence; may be called several times per sequence. Ids must fit the dtype (Error).
  void add_tokens(std::span<const int32_t> tokens);
  void end_sequence();  // the open sequence (possibly empty) is complete
  void end_document();  // the sequences since the last call form a document
  void finish();        // UserError when a write fails (full disk): nothing is left behind

  int64_t num_sequences() const { return static_cast<int64_t>(sizes_.size()); }
  int64_t num_documents() const { return static_cast<int64_t>(document_ends_.size()) - 1; }
  int64_t num_tokens() const { return num_tokens_; }

 private:
  class PartialFile;

  void write_index(PartialFile& out) const;

  std::string prefix_;
  TokenDtype dtype_;
  bool overwrite_;
  std::unique_ptr<PartialFile> bin_;
  std::vector<int32_t> sizes_;
  std::vector<int64_t> document_ends_{0};
  int64_t open_tokens_ = 0;  // tokens of the open sequence
  int64_t num_tokens_ = 0;
  std::vector<unsigned char> bytes_;  // conversion buffer
};

// Reads a corpus through mmap. Everything in the index is checked when it is opened, token ids when they are read.
// Const members may be called from several threads.
class IndexedDataset {
 public:
  static constexpr int64_t kAnyVocabulary = std::numeric_limits<int32_t>::max();

  // Opens <prefix>.bin and <prefix>.idx. UserError, naming the file and what to do, when one is missing, foreign,
  // truncated or inconsistent with the other.
  explicit IndexedDataset(const std::string& prefix, int64_t vocab_size = kAnyVocabulary);
  IndexedDataset(const IndexedDataset&) = delete;
  IndexedDataset& operator=(const IndexedDataset&) = delete;

  const std::string& prefix() const { return prefix_; }
  TokenDtype dtype() const { return dtype_; }
  int64_t num_sequences() const { return num_sequences_; }
  int64_t num_documents() const { return num_documents_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t sequence_length(int64_t sequence) const;
  // First token of document d as a position in the whole corpus; document_begin(num_documents()) = num_tokens().
  int64_t document_begin(int64_t document) const;
  int64_t document_length(int64_t document) const { return document_begin(document + 1) - document_begin(document); }

  // out[i] = token at position + i of the corpus. UserError for an id that is negative or not below the vocabulary.
  void read(int64_t position, int64_t count, int32_t* out) const;
  // Reads the first `max_tokens` tokens only to check their ids: a wrong tokenizer shows before the first step.
  void check_token_ids(int64_t max_tokens) const;

 private:
  std::string path_of(const char* extension) const { return prefix_ + extension; }
  void check_index() const;
  template <class Stored>
  void read_as(int64_t position, int64_t count, int32_t* out) const;

  std::string prefix_;
  int64_t vocab_size_;
  MappedFile idx_, bin_;
  TokenDtype dtype_ = TokenDtype::kUint16;
  int64_t num_sequences_ = 0, num_documents_ = 0, num_tokens_ = 0;
  const std::byte* sizes_ = nullptr;      // i32[num_sequences], unaligned
  const std::byte* pointers_ = nullptr;   // i64[num_sequences], unaligned
  const std::byte* documents_ = nullptr;  // i64[num_documents + 1], unaligned
};

}  // namespace sy
