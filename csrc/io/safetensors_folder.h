// The weights of a Hugging Face folder as one source: model.safetensors, or the shards of model.safetensors.index.json.
//   index: {"metadata": {"total_size": bytes}, "weight_map": {"<tensor>": "<file in this folder>", ...}}
// Memory-mapped. Everything is checked before anything is read: index and shards name the same tensors in the same
// files, each once, and nothing outside the folder.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "csrc/io/safetensors.h"
#include "csrc/io/tensor_source.h"

namespace sy {

class SafetensorsFolder final : public TensorSource {
 public:
  // UserError names the file and what is wrong with it.
  explicit SafetensorsFolder(const std::string& folder);

  std::string path() const override { return folder_; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override;

 private:
  struct Place {
    const SafetensorsReader* file;
    const SafetensorsReader::Entry* entry;
  };
  void open(const std::string& file);
  void check_index(const std::string& index_path, const std::map<std::string, std::string>& weight_map,
                   int64_t total_size) const;

  std::string folder_;
  std::vector<std::unique_ptr<SafetensorsReader>> files_;
  std::vector<SourceTensor> tensors_;
  std::vector<Place> places_;              // of tensors_
  std::map<std::string, std::string> in_;  // tensor -> the file that holds it
};

}  // namespace sy
