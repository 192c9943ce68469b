// GGUF files of llama.cpp, versions 2 and 3, little-endian, memory-mapped:
//   "GGUF" | u32 version | u64 tensors | u64 metadata entries
//   entries: text key | u32 type | value      (text: u64 bytes, then they; list: u32 type, u64 count, then the values)
//   tensors: text name | u32 dimensions | u64 sizes, the contiguous dimension first | u32 type | u64 offset
//   zeros up to a multiple of general.alignment (32 by default), from where offsets count | tensor data
// Everything is checked before anything is read: a file that is truncated, foreign, or whose tensors overlap, lie
// outside or have a type that is not supported is a UserError that names the file and the tensor or key.
// Source: github.com/ggml-org/ggml, docs/gguf.md.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "csrc/io/file.h"
#include "csrc/io/gguf_blocks.h"
#include "csrc/io/tensor_source.h"

namespace sy {

class GgufFile final : public TensorSource {
 public:
  explicit GgufFile(const std::string& path);

  // Values by key; integers, floating-point numbers, booleans, texts (as the bytes stand) and lists.
  const nlohmann::json& metadata() const { return metadata_; }

  std::string path() const override { return file_.path(); }
  // BF16 as bf16, all other types as f32; sizes in our order, the contiguous dimension last.
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override;

 private:
  struct Place {
    const GgufType* type;
    uint64_t offset;  // in the data
    uint64_t bytes;
  };
  void check_layout(uint64_t header_bytes, uint64_t alignment);

  MappedFile file_;
  nlohmann::json metadata_;
  std::vector<SourceTensor> tensors_;
  std::vector<Place> places_;  // of tensors_
  const std::byte* data_ = nullptr;
};

}  // namespace sy
