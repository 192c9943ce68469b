// Reading side of csrc/io/indexed_dataset.h.
#include "csrc/io/indexed_dataset.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "csrc/core/check.h"

namespace sy {
namespace {

constexpr int64_t kHeaderBytes = 34;

// The index arrays start at byte 34, so nothing in them is aligned.
template <class T>
T load(const std::byte* bytes, int64_t index = 0) {
  T value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// One file of a pair that a user named by its prefix.
MappedFile open_part(const std::string& prefix, const char* extension) {
  const std::string path = prefix + extension;
  if (prefix.ends_with(".bin") || prefix.ends_with(".idx")) {
    user_error("data path {} names a file: give the prefix {} of the .bin/.idx pair", prefix,
               prefix.substr(0, prefix.size() - 4));
  }
  if (!std::filesystem::exists(path)) {
    user_error("{} does not exist: make the pair with 'switchyard tokenize' or correct the data path", path);
  }
  return MappedFile(path);
}

}  // namespace

IndexedDataset::IndexedDataset(const std::string& prefix, int64_t vocab_size)
    : prefix_(prefix),
      vocab_size_(std::min(vocab_size, kAnyVocabulary)),
      idx_(open_part(prefix, ".idx")),
      bin_(open_part(prefix, ".bin")) {
  const std::byte* header = idx_.data();
  const bool has_magic = idx_.num_bytes() >= 9 && std::memcmp(header, "MMIDIDX\0", 9) == 0;
  if (!has_magic && idx_.num_bytes() >= 9) {
    user_error("{} is not a Megatron index (its first bytes are not MMIDIDX): make the pair with 'switchyard tokenize'",
               path_of(".idx"));
  }
  if (idx_.num_bytes() < kHeaderBytes) {
    user_error("{} is truncated: {} bytes, the header alone has {}; make the pair again", path_of(".idx"),
               idx_.num_bytes(), kHeaderBytes);
  }
  const auto version = load<uint64_t>(header + 9);
  if (version != 1) user_error("{} has format version {}, only 1 can be read", path_of(".idx"), version);
  const auto code = load<uint8_t>(header + 17);
  dtype_ = static_cast<TokenDtype>(code);
  if (code < 1 || code > 8) user_error("{} has unknown dtype code {}: the file is damaged", path_of(".idx"), code);
  if (dtype_ == TokenDtype::kFloat32 || dtype_ == TokenDtype::kFloat64) {
    user_error("{} holds {} values, not token ids: give a tokenized corpus", path_of(".idx"), token_dtype_name(dtype_));
  }
  const auto sequences = load<uint64_t>(header + 18), documents = load<uint64_t>(header + 26);
  // Bounded by the file's bytes first, so that damaged counts cannot overflow the sum.
  const auto file_bytes = static_cast<uint64_t>(idx_.num_bytes());
  const bool plausible = sequences <= file_bytes / 12 && documents <= file_bytes / 8;
  const uint64_t wanted = plausible ? kHeaderBytes + 12 * sequences + 8 * documents : 0;
  if (!plausible || wanted > file_bytes) {
    user_error(
        "{} is truncated: {} bytes do not hold the {} sequences and {} document entries it announces; make the pair "
        "again",
        path_of(".idx"), file_bytes, sequences, documents);
  }
  if (wanted < file_bytes) {
    user_error("{} has {} bytes after its document entries: damaged, or a multimodal index, which is not supported",
               path_of(".idx"), file_bytes - wanted);
  }
  num_sequences_ = static_cast<int64_t>(sequences);
  num_documents_ = static_cast<int64_t>(documents) - 1;
  sizes_ = header + kHeaderBytes;
  pointers_ = sizes_ + 4 * num_sequences_;
  documents_ = pointers_ + 8 * num_sequences_;
  num_tokens_ = bin_.num_bytes() / token_dtype_bytes(dtype_);
  check_index();
}

void IndexedDataset::check_index() const {
  const int64_t element_bytes = token_dtype_bytes(dtype_);
  int64_t expected = 0;
  for (int64_t i = 0; i < num_sequences_; ++i) {
    const auto tokens = load<int32_t>(sizes_, i);
    const auto pointer = load<int64_t>(pointers_, i);
    if (tokens < 0) user_error("{}: sequence {} has length {}: the index is damaged", path_of(".idx"), i, tokens);
    if (pointer != expected) {
      user_error("{}: sequence {} points to byte {} where {} follows from the lengths: the index is damaged",
                 path_of(".idx"), i, pointer, expected);
    }
    expected += tokens * element_bytes;
    if (expected > bin_.num_bytes()) {
      user_error("{} is truncated: {} bytes, but sequence {} ends at byte {}; make the pair again", path_of(".bin"),
                 bin_.num_bytes(), i, expected);
    }
  }
  if (expected != bin_.num_bytes()) {
    user_error("{} has {} bytes but {} describes {}: the two files do not belong together; make the pair again",
               path_of(".bin"), bin_.num_bytes(), path_of(".idx"), expected);
  }
  if (num_documents_ < 0 || load<int64_t>(documents_) != 0) {
    user_error("{}: the document entries do not start with 0: the index is damaged", path_of(".idx"));
  }
  for (int64_t d = 0; d < num_documents_; ++d) {
    const auto begin = load<int64_t>(documents_, d), end = load<int64_t>(documents_, d + 1);
    if (end < begin || end > num_sequences_) {
      user_error("{}: document {} spans sequences {} to {} of {}: the index is damaged", path_of(".idx"), d, begin, end,
                 num_sequences_);
    }
  }
  if (const auto last = load<int64_t>(documents_, num_documents_); last != num_sequences_) {
    user_error("{}: its documents hold {} sequences but it has {}: the index is damaged", path_of(".idx"), last,
               num_sequences_);
  }
}

int64_t IndexedDataset::sequence_length(int64_t sequence) const {
  SY_CHECK(sequence >= 0 && sequence < num_sequences_, "sequence {} of {}", sequence, num_sequences_);
  return load<int32_t>(sizes_, sequence);
}

int64_t IndexedDataset::document_begin(int64_t document) const {
  SY_CHECK(document >= 0 && document <= num_documents_, "document {} of {}", document, num_documents_);
  const auto sequence = load<int64_t>(documents_, document);
  return sequence == num_sequences_ ? num_tokens_ : load<int64_t>(pointers_, sequence) / token_dtype_bytes(dtype_);
}

template <class Stored>
void IndexedDataset::read_as(int64_t position, int64_t count, int32_t* out) const {
  const std::byte* from = bin_.data() + position * static_cast<int64_t>(sizeof(Stored));
  for (int64_t i = 0; i < count; ++i) {
    const auto id = static_cast<int64_t>(load<Stored>(from, i));
    if (id < 0 || id >= vocab_size_) [[unlikely]] {
      user_error(
          "{}: token id {} at position {} is outside the vocabulary of {}: tokenize with the model's tokenizer "
          "or correct model.vocab_size",
          path_of(".bin"), id, position + i, vocab_size_);
    }
    out[i] = static_cast<int32_t>(id);
  }
}

void IndexedDataset::read(int64_t position, int64_t count, int32_t* out) const {
  SY_CHECK(position >= 0 && count >= 0 && position + count <= num_tokens_, "tokens {} + {} of {}", position, count,
           num_tokens_);
  switch (dtype_) {
    case TokenDtype::kUint8:
      return read_as<uint8_t>(position, count, out);
    case TokenDtype::kInt8:
      return read_as<int8_t>(position, count, out);
    case TokenDtype::kInt16:
      return read_as<int16_t>(position, count, out);
    case TokenDtype::kUint16:
      return read_as<uint16_t>(position, count, out);
    case TokenDtype::kInt32:
      return read_as<int32_t>(position, count, out);
    default:
      return read_as<int64_t>(position, count, out);
  }
}

void IndexedDataset::check_token_ids(int64_t max_tokens) const {
  std::vector<int32_t> ids(4096);
  const int64_t end = std::min(max_tokens, num_tokens_);
  for (int64_t position = 0; position < end;) {
    const int64_t count = std::min<int64_t>(static_cast<int64_t>(ids.size()), end - position);
    read(position, count, ids.data());
    position += count;
  }
}

}  // namespace sy
