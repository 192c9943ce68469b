// The model of a training checkpoint as a Hugging Face folder.
//   model.safetensors   every weight under the name that its family gives it, without vocabulary padding, and router
//                       state that decides about tokens (selection biases, hash tables); no optimizer state
//   config.json         Hugging Face keys
//   tokenizer.json      where data.tokenizer is one that can be read
// One process reads the checkpoint of any mesh, one tensor in memory at a time.
#pragma once

#include <optional>
#include <string>

#include "csrc/io/checkpoint.h"

namespace sy {

struct ConvertReport {
  int64_t tensors = 0, file_bytes = 0;
  DType dtype = DType::f32;
  std::string model_type;
  std::string without_family;     // per Hugging Face family the trait that it does not have; "" for a family's model
  std::string without_tokenizer;  // why the folder has neither tokenizer nor eos_token_id; "" where nothing is missing
};

// Writes `out`, which must not exist, under a temporary name first. `dtype` (the training type by default) is that of
// the exported model: what such a model computes with exactly, its router, is stored exactly too (in bf16 if that holds
// the very numbers). Every tensor of the checkpoint's model is written once and none is left over, or an error is
// thrown and nothing is there.
ConvertReport convert_checkpoint(const CheckpointReader& reader, const std::string& out,
                                 std::optional<DType> dtype = {});

}  // namespace sy
