// A checkpoint's model as input of a command that makes another model of it: its configuration, its tensors in f64.
#pragma once

#include <string>
#include <vector>

#include "csrc/io/checkpoint.h"
#include "trainer/config.h"

namespace sy {

class StoredModel {
 public:
  // A run folder, its checkpoints folder, one step directory or a weights-only checkpoint. UserError if there is none
  // or if its tensors are not those of its own configuration.
  explicit StoredModel(const std::string& path);

  const std::string& path() const { return path_; }  // as given
  const CheckpointReader& reader() const { return reader_; }
  const Config& config() const { return config_; }
  // Every tensor of the model, by the names of exported files, in the model's order.
  const std::vector<CheckpointTensor>& tensors() const { return tensors_; }
  bool contains(const std::string& name) const;
  // All elements, exactly. UserError for tensors of integers.
  std::vector<double> values(const std::string& name) const;
  // Of the checkpoint's index, which holds the hashes of all tensors.
  std::string hash() const;

 private:
  std::string path_;
  CheckpointReader reader_;
  Config config_;
  std::vector<CheckpointTensor> tensors_;
};

// Opens each; UserError if the list is empty.
std::vector<StoredModel> open_models(const std::vector<std::string>& paths);
// UserError naming the first key in which an input's model or tokenizer is not the first one's.
void require_one_architecture(const std::vector<StoredModel>& models);

}  // namespace sy
