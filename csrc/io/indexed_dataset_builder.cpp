// Writing side of csrc/io/indexed_dataset.h.
#include <unistd.h>

#include <bit>
#include <cstring>
#include <filesystem>

#include "csrc/core/check.h"
#include "csrc/io/indexed_dataset.h"

namespace sy {

static_assert(std::endian::native == std::endian::little, "the indexed format is written in native byte order");

int64_t token_dtype_bytes(TokenDtype dtype) {
  switch (dtype) {
    case TokenDtype::kUint8:
    case TokenDtype::kInt8:
      return 1;
    case TokenDtype::kInt16:
    case TokenDtype::kUint16:
      return 2;
    case TokenDtype::kInt32:
    case TokenDtype::kFloat32:
      return 4;
    case TokenDtype::kInt64:
    case TokenDtype::kFloat64:
      return 8;
  }
  return 0;
}

const char* token_dtype_name(TokenDtype dtype) {
  switch (dtype) {
    case TokenDtype::kUint8:
      return "uint8";
    case TokenDtype::kInt8:
      return "int8";
    case TokenDtype::kInt16:
      return "int16";
    case TokenDtype::kInt32:
      return "int32";
    case TokenDtype::kInt64:
      return "int64";
    case TokenDtype::kFloat64:
      return "float64";
    case TokenDtype::kFloat32:
      return "float32";
    case TokenDtype::kUint16:
      return "uint16";
  }
  return "unknown";
}

TokenDtype token_dtype_for_vocab(int64_t vocab_size) {
  return vocab_size < 65500 ? TokenDtype::kUint16 : TokenDtype::kInt32;
}

// A buffered file under a temporary name that becomes visible only by publish().
class IndexedDatasetBuilder::PartialFile {
 public:
  explicit PartialFile(const std::string& path) : path_(path), file_(fmt::format("{}.partial.{}", path, ::getpid())) {
    buffer_.reserve(kBufferBytes);
  }
  ~PartialFile() {
    if (!published_) ::unlink(file_.path().c_str());
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  void write(const void* data, std::size_t num_bytes) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    if (buffer_.size() + num_bytes > kBufferBytes) flush();
    if (num_bytes > kBufferBytes) {
      file_.append(bytes, static_cast<int64_t>(num_bytes));
    } else {
      buffer_.insert(buffer_.end(), bytes, bytes + num_bytes);
    }
  }
  template <class T>
  void write_value(T value) {
    write(&value, sizeof value);
  }
  // Everything is on the disk after this, still under the temporary name.
  void sync() {
    flush();
    file_.sync_and_close();
  }
  void publish() {
    rename_path(file_.path(), path_);
    published_ = true;
  }

 private:
  static constexpr std::size_t kBufferBytes = 1 << 20;

  void flush() {
    file_.append(buffer_.data(), static_cast<int64_t>(buffer_.size()));
    buffer_.clear();
  }

  std::string path_;
  OutputFile file_;
  bool published_ = false;
  std::vector<unsigned char> buffer_;
};

IndexedDatasetBuilder::IndexedDatasetBuilder(const std::string& prefix, TokenDtype dtype, bool overwrite)
    : prefix_(prefix), dtype_(dtype), overwrite_(overwrite) {
  namespace fs = std::filesystem;
  SY_CHECK(dtype != TokenDtype::kFloat32 && dtype != TokenDtype::kFloat64, "tokens are integers");
  if (prefix.empty() || prefix.back() == '/') user_error("'{}' is no output prefix: give a folder and a name", prefix);
  for (const char* extension : {".bin", ".idx"}) {
    if (!overwrite && fs::exists(prefix + extension)) {
      user_error("{}{} exists already: choose another output prefix or pass --overwrite", prefix, extension);
    }
  }
  const fs::path folder = fs::path(prefix).parent_path();
  if (!folder.empty()) create_directories(folder.string());
  bin_ = std::make_unique<PartialFile>(prefix + ".bin");
}

IndexedDatasetBuilder::~IndexedDatasetBuilder() = default;

namespace {

template <class Stored>
void convert(std::span<const int32_t> tokens, std::vector<unsigned char>& bytes) {
  bytes.resize(tokens.size() * sizeof(Stored));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto stored = static_cast<Stored>(tokens[i]);
    SY_CHECK(static_cast<int64_t>(stored) == tokens[i], "token id {} does not fit the corpus dtype", tokens[i]);
    std::memcpy(bytes.data() + i * sizeof(Stored), &stored, sizeof(Stored));
  }
}

}  // namespace

void IndexedDatasetBuilder::add_tokens(std::span<const int32_t> tokens) {
  SY_CHECK(bin_ != nullptr, "add_tokens after finish");
  const int64_t longest = std::numeric_limits<int32_t>::max();
  open_tokens_ += static_cast<int64_t>(tokens.size());
  if (open_tokens_ > longest) {
    user_error("{}: document {} has more than {} tokens, the most the format can hold: split it into documents",
               prefix_, num_documents(), longest);
  }
  switch (dtype_) {
    case TokenDtype::kUint8:
      convert<uint8_t>(tokens, bytes_);
      break;
    case TokenDtype::kInt8:
      convert<int8_t>(tokens, bytes_);
      break;
    case TokenDtype::kInt16:
      convert<int16_t>(tokens, bytes_);
      break;
    case TokenDtype::kUint16:
      convert<uint16_t>(tokens, bytes_);
      break;
    case TokenDtype::kInt32:
      convert<int32_t>(tokens, bytes_);
      break;
    default:
      convert<int64_t>(tokens, bytes_);
      break;
  }
  bin_->write(bytes_.data(), bytes_.size());
}

void IndexedDatasetBuilder::end_sequence() {
  sizes_.push_back(static_cast<int32_t>(open_tokens_));
  num_tokens_ += open_tokens_;
  open_tokens_ = 0;
}

void IndexedDatasetBuilder::end_document() {
  SY_CHECK(open_tokens_ == 0, "end_document with an open sequence of {} tokens", open_tokens_);
  document_ends_.push_back(num_sequences());
}

void IndexedDatasetBuilder::write_index(PartialFile& out) const {
  out.write("MMIDIDX\0", 9);  // the literal's own terminator is the ninth byte
  out.write_value<uint64_t>(1);
  out.write_value(static_cast<uint8_t>(dtype_));
  out.write_value(static_cast<uint64_t>(sizes_.size()));
  out.write_value(static_cast<uint64_t>(document_ends_.size()));
  out.write(sizes_.data(), sizes_.size() * sizeof(int32_t));
  int64_t pointer = 0;
  for (const int32_t tokens : sizes_) {
    out.write_value(pointer);
    pointer += tokens * token_dtype_bytes(dtype_);
  }
  out.write(document_ends_.data(), document_ends_.size() * sizeof(int64_t));
}

void IndexedDatasetBuilder::finish() {
  SY_CHECK(bin_ != nullptr && open_tokens_ == 0, "finish with an open sequence or called twice");
  SY_CHECK(document_ends_.back() == num_sequences(), "finish with sequences that belong to no document");
  PartialFile idx(prefix_ + ".idx");
  write_index(idx);
  bin_->sync();
  idx.sync();
  // An old index must never describe the new tokens: it goes first, the new one comes last.
  if (overwrite_) ::unlink((prefix_ + ".idx").c_str());
  bin_->publish();
  idx.publish();
  bin_.reset();
  const std::filesystem::path folder = std::filesystem::path(prefix_).parent_path();
  sync_directory(folder.empty() ? "." : folder.string());
}

}  // namespace sy
