// `switchyard convert CHECKPOINT OUT`: the model of a training checkpoint as a Hugging Face folder.
//   OUT/model.safetensors   every weight under its Hugging Face name, without vocabulary padding, and router state that
//                           decides about tokens (selection biases, hash tables); no optimizer state
//   OUT/config.json         Hugging Face keys
// One process reads the checkpoint of any mesh, one tensor in memory at a time.
#pragma once

#include <optional>
#include <string>

#include "csrc/io/checkpoint.h"
#include "parallel/comm.h"

namespace sy {

struct ConvertReport {
  int64_t tensors = 0, file_bytes = 0;
  DType dtype = DType::f32;
  std::string model_type;
  std::string without_family;  // the trait that keeps the model out of Hugging Face's families; "" for a family's
};

// Writes `out`, which must not exist, under a temporary name first. `dtype` (the training type by default) is that of
// the exported model: what such a model computes with exactly, its router, is stored exactly too. Every tensor of the
// checkpoint's model is written once and none is left over, or an error is thrown and nothing is there.
ConvertReport convert_checkpoint(const CheckpointReader& reader, const std::string& out,
                                 std::optional<DType> dtype = {});

int run_convert(int argc, char** argv, Comm& comm);

}  // namespace sy
