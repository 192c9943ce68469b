// Files: durable writing, memory-mapped reading, atomic replacement. Every failure is a UserError with the path and the
// system's reason ("cannot write 'x': No space left on device"), because a full disk or a wrong path is the user's to
// fix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sy {

// Throws UserError "cannot <what> '<path>': <text of error_number>".
[[noreturn]] void file_error(const char* what, const std::string& path, int error_number);

// A file being written. Without sync_and_close() the destructor closes it silently: the content is then not promised.
class OutputFile {
 public:
  enum class Mode { kTruncate, kAppend };

  explicit OutputFile(std::string path, Mode mode = Mode::kTruncate);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  // Appends `bytes` bytes; one system call unless the system splits it.
  void append(const void* data, int64_t bytes);
  // Writes at a byte offset from the start of the file (not in append mode).
  void write_at(int64_t offset, const void* data, int64_t bytes);
  // Returns when the content is on the disk.
  void sync_and_close();

 private:
  std::string path_;
  int fd_ = -1;
};

// A whole file, read-only in memory. An empty file has data() == nullptr. A file cut short by somebody else while it is
// mapped ends the process with SIGBUS, as with every memory map.
class MappedFile {
 public:
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const std::byte* data() const { return data_; }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  int64_t num_bytes_ = 0;
};

std::string read_text_file(const std::string& path);

// Replaces `path` by `text` so that a crash leaves either the old or the new file: temporary name in the same
// directory, fsync, rename, fsync of the directory.
void write_file_atomically(const std::string& path, std::string_view text);

// Makes the directory's entries (creations, renames) durable.
void sync_directory(const std::string& path);

// rename(2); on failure a UserError.
void rename_path(const std::string& from, const std::string& to);

// Creates a directory and its parents; fine if it is there.
void create_directories(const std::string& path);

// 64-bit xxHash with seed 0, and its form in json files (16 hexadecimal digits).
uint64_t xxh64(const void* data, int64_t bytes);
std::string hash_text(uint64_t hash);
std::string hash_of_file(const std::string& path);

}  // namespace sy
