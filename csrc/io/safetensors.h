// Safetensors files, as Hugging Face reads and writes them:
//   u64 little-endian H | H bytes of json, padded with spaces so that 8 + H is a multiple of 8 | tensor data
//   json: {"__metadata__": {text: text}, "<name>": {"dtype": "F32", "shape": [2,3], "data_offsets": [begin, end]}, ...}
// Offsets count from the end of the json; tensors tile the data section without gap or overlap. Data is row-major,
// little-endian. Tensors are laid out by falling element size, then in the order declared, so each one is aligned.
// Source: github.com/huggingface/safetensors, format description.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "csrc/core/dtype.h"
#include "csrc/io/file.h"

namespace sy {

// A contiguous row-major tensor in host memory, not owned.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

// Elements of a shape (1 for a scalar); sy::Error if negative or past 2^63 bits.
int64_t element_count(const std::vector<int64_t>& shape);

// Writes one file whose tensors are declared first (the header precedes the data) and then filled in any order, each in
// one or more pieces, so that a model larger than memory can be written.
class SafetensorsWriter {
 public:
  struct Spec {
    std::string name;
    DType dtype = DType::f32;
    std::vector<int64_t> shape;
  };

  // Writes the header. sy::Error for a repeated name.
  SafetensorsWriter(const std::string& path, const std::vector<Spec>& specs,
                    const std::map<std::string, std::string>& metadata = {});
  // Appends the next `bytes` bytes of tensor `name`; sy::Error past its end.
  void write(const std::string& name, const void* data, int64_t bytes);
  // Makes the file durable; sy::Error if a tensor is not complete.
  void finish();
  // Size of the finished file.
  int64_t file_bytes() const { return file_bytes_; }

 private:
  struct Slot {
    int64_t begin = 0;  // from the start of the file
    int64_t end = 0;
    int64_t cursor = 0;
  };
  OutputFile file_;
  std::unordered_map<std::string, Slot> slots_;
  int64_t file_bytes_ = 0;
};

// The same in one call.
struct NamedTensor {
  std::string name;
  TensorView view;
};
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

// Maps a file and checks its whole header: a file that is truncated, foreign, or whose tensors overlap, leave gaps or
// do not match their shapes is a UserError that names the file and the tensor. Not copied; views live as long as the
// reader.
class SafetensorsReader {
 public:
  struct Entry {
    std::string name;
    std::string dtype_text;      // as in the file, e.g. "F16"
    std::optional<DType> dtype;  // empty for types that Switchyard does not compute with
    std::vector<int64_t> shape;
    int64_t begin = 0;  // bytes from the start of the data section
    int64_t end = 0;
  };

  explicit SafetensorsReader(const std::string& path);

  const std::string& path() const { return file_.path(); }
  int64_t file_bytes() const { return file_.num_bytes(); }
  const std::vector<Entry>& entries() const { return entries_; }  // in file order
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const Entry* find(const std::string& name) const;  // nullptr if absent
  // UserError if absent or of a type without DType. Files of other writers may be unaligned: copy with memcpy.
  TensorView view(const std::string& name) const;
  // As above, and UserError unless dtype and shape are the expected ones.
  TensorView view(const std::string& name, DType dtype, const std::vector<int64_t>& shape) const;
  // The entry's bytes, whatever their type.
  const std::byte* bytes(const Entry& entry) const { return data_ + entry.begin; }

 private:
  void parse_header(int64_t header_bytes);
  void check_layout(int64_t data_bytes);

  MappedFile file_;
  const std::byte* data_ = nullptr;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace sy
