// Weights from Hugging Face safetensors into a model's parameters, with the proof that every tensor was used once.
#pragma once

#include <functional>
#include <string>

#include "csrc/io/safetensors.h"
#include "csrc/models/decoder.h"

namespace sy {

// The name in the file of one of our part names (identity by default).
using NameInFile = std::function<std::string(const std::string&)>;

// Sets every parameter part (and router state whose name the file holds) from the file, widening or rounding to the
// parameter's exact type; integers must have the state's own type. UserError names the first tensor that is missing, of
// another shape or type, or left unread among those that `expected_in_file` accepts (all by default).
void load_weights(Context& ctx, Decoder& decoder, const SafetensorsReader& file, const NameInFile& name_in_file = {},
                  const std::function<bool(const std::string&)>& expected_in_file = {});

}  // namespace sy
