#include "csrc/io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "csrc/core/check.h"

namespace sy {
namespace {

// Linux transfers at most 2 GiB - 4 KiB per call; a smaller power of two keeps offsets aligned.
constexpr int64_t kMaxTransferBytes = int64_t{1} << 30;

std::string parent_directory(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

void file_error(const char* what, const std::string& path, int error_number) {
  user_error("cannot {} '{}': {}", what, path, std::generic_category().message(error_number));
}

OutputFile::OutputFile(std::string path, Mode mode) : path_(std::move(path)) {
  const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (mode == Mode::kAppend ? O_APPEND : O_TRUNC);
  fd_ = ::open(path_.c_str(), flags, 0666);
  if (fd_ < 0) file_error("create", path_, errno);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::append(const void* data, int64_t bytes) {
  const char* cursor = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(fd_, cursor, static_cast<size_t>(std::min(bytes, kMaxTransferBytes)));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) file_error("write", path_, errno);
    cursor += written;
    bytes -= written;
  }
}

void OutputFile::write_at(int64_t offset, const void* data, int64_t bytes) {
  const char* cursor = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(fd_, cursor, static_cast<size_t>(std::min(bytes, kMaxTransferBytes)), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) file_error("write", path_, errno);
    cursor += written;
    offset += written;
    bytes -= written;
  }
}

void OutputFile::sync_and_close() {
  if (::fsync(fd_) != 0) file_error("write", path_, errno);
  // Network file systems report a full disk only here; after close the descriptor is gone, whatever the result.
  const int result = ::close(std::exchange(fd_, -1));
  if (result != 0) file_error("write", path_, errno);
}

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) file_error("open", path_, errno);
  struct stat info {};
  int error_number = 0;
  void* mapped = nullptr;
  if (::fstat(fd, &info) != 0) {
    error_number = errno;
  } else if (S_ISDIR(info.st_mode)) {
    error_number = EISDIR;
  } else if (info.st_size > 0) {
    mapped = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED) error_number = errno;
  }
  ::close(fd);
  if (error_number != 0) file_error("read", path_, error_number);
  data_ = static_cast<const std::byte*>(mapped);
  num_bytes_ = info.st_size;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      num_bytes_(std::exchange(other.num_bytes_, 0)) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), static_cast<size_t>(num_bytes_));
}

std::string read_text_file(const std::string& path) {
  const MappedFile file(path);
  return file.data() == nullptr
             ? std::string()
             : std::string(reinterpret_cast<const char*>(file.data()), static_cast<size_t>(file.num_bytes()));
}

void write_file_atomically(const std::string& path, std::string_view text) {
  const std::filesystem::path target(path);
  const std::string temporary = (target.parent_path() / (".tmp_" + target.filename().string())).string();
  try {
    OutputFile file(temporary);
    file.append(text.data(), static_cast<int64_t>(text.size()));
    file.sync_and_close();
    rename_path(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(parent_directory(path));
}

void sync_directory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) file_error("open", path, errno);
  const int error_number = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some network file systems cannot fsync a directory (EINVAL); their renames are durable by themselves.
  if (error_number != 0 && error_number != EINVAL) file_error("sync", path, error_number);
}

void rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) file_error("rename to", to, errno);
}

void create_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) file_error("create directory", path, error.value());
}

uint64_t xxh64(const void* data, int64_t bytes) {
  // The hash of nothing must not depend on the pointer given for it.
  return bytes == 0 ? XXH64("", 0, 0) : XXH64(data, static_cast<size_t>(bytes), 0);
}

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }
std::string hash_of_file(const std::string& path) {
  const MappedFile file(path);
  return hash_text(xxh64(file.data(), file.num_bytes()));
}

}  // namespace sy
