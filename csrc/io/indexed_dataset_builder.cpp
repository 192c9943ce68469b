// Writing side of csrc/io/indexed_dataset.h.
#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
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

// A file under a temporary name that becomes visible only by publish(). Buffered; every failed call is a UserError.
class IndexedDatasetBuilder::OutputFile {
 public:
  explicit OutputFile(std::string path)
      : path_(std::move(path)), temporary_(fmt::format("{}.partial.{}", path_, ::getpid())) {
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail("cannot create");
    buffer_.reserve(kBufferBytes);
  }
  ~OutputFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!published_) ::unlink(temporary_.c_str());
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(const void* data, std::size_t num_bytes) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    if (buffer_.size() + num_bytes > kBufferBytes) flush();
    if (num_bytes > kBufferBytes) {
      write_out(bytes, num_bytes);
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
    if (::fsync(descriptor_) != 0) fail("cannot write");
    const int descriptor = descriptor_;
    descriptor_ = -1;
    if (::close(descriptor) != 0) fail("cannot write");
  }
  void publish() {
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename the finished file to");
    published_ = true;
  }

 private:
  static constexpr std::size_t kBufferBytes = 1 << 20;

  [[noreturn]] void fail(const char* what) const {
    user_error("{} {}: {}; check the folder's permissions and free space", what, path_, std::strerror(errno));
  }
  void flush() {
    write_out(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  void write_out(const unsigned char* bytes, std::size_t num_bytes) {
    while (num_bytes > 0) {
      const ssize_t written = ::write(descriptor_, bytes, num_bytes);
      if (written < 0) {
        if (errno == EINTR) continue;
        fail("cannot write");
      }
      bytes += written;
      num_bytes -= static_cast<std::size_t>(written);
    }
  }

  std::string path_, temporary_;
  int descriptor_ = -1;
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
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) user_error("cannot create folder {}: {}", folder.string(), error.message());
  bin_ = std::make_unique<OutputFile>(prefix + ".bin");
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

void IndexedDatasetBuilder::write_index(OutputFile& out) const {
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
  OutputFile idx(prefix_ + ".idx");
  write_index(idx);
  bin_->sync();
  idx.sync();
  // An old index must never describe the new tokens: it goes first, the new one comes last.
  if (overwrite_) ::unlink((prefix_ + ".idx").c_str());
  bin_->publish();
  idx.publish();
  bin_.reset();
  const std::filesystem::path folder = std::filesystem::path(prefix_).parent_path();
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);  // makes the two renames durable; a folder that cannot be synced is no reason to fail
    ::close(descriptor);
  }
}

}  // namespace sy
