// A model of others as a weights-only checkpoint (weights_checkpoint.h) that runs start from and `generate` reads:
//   OUT/config.yaml                   the model and the smallest legal run on it; a run changes what it needs
//   OUT/checkpoints/step_00000000     the weights
//   OUT/tokenizer.json                the model's own, named in config.yaml
// One process, one tensor in memory at a time. Each tensor of the source is read once and each of the model written
// once, or an error is thrown and nothing is there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "csrc/core/tensor.h"
#include "csrc/io/tensor_source.h"

namespace sy {

// What a reader of a foreign format has found.
struct ForeignModel {
  std::string path;         // what messages call it
  std::string description;  // "model_type llama", for the report
  // {"model": {...}, "moe": {...}} of a run's YAML, as JSON text.
  std::string sections;
  std::unique_ptr<TensorSource> tensors;
  // The source's name of a tensor of ours.
  std::function<std::string(const std::string&)> name_in_source;
  // The shape there of several tensors of ours that have one name in the source, where they are stacked in the model's
  // order: of the name, their count and the shape of each.
  std::function<Shape(const std::string&, int64_t, const Shape&)> shape_in_source =
      [](const std::string&, int64_t, const Shape& each) { return each; };
  // True for a tensor that the model does not need, such as frequencies that follow from the configuration.
  std::function<bool(const std::string&)> is_derived = [](const std::string&) { return false; };
  std::string tokenizer_path;  // of a tokenizer.json; "" if there is none
  // Or the tokenizer's files by name, where the source is not one of them.
  std::map<std::string, std::string> tokenizer_files;
  bool has_tokenizer() const { return !tokenizer_path.empty() || !tokenizer_files.empty(); }
};

struct ImportReport {
  int64_t tensors = 0, parameters = 0;
  DType dtype = DType::f32;  // train.dtype
};

// `dtype`, by default the widest of the source's floating-point types, becomes train.dtype; weights are stored exactly,
// or rounded once to f32 where the source has f64 and `dtype` has not.
ImportReport import_model(const ForeignModel& foreign, const std::string& out, std::optional<DType> dtype = {});

// A Hugging Face folder: config.json of a registered family or of our own model_type, safetensors, tokenizer.json.
ForeignModel open_hub_folder(const std::string& folder);

}  // namespace sy
