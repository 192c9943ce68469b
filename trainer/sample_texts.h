// Texts on which a recipe's method watches its inputs: corpora, of each a number of whole windows of the model's
// training length.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "csrc/core/fields.h"
#include "trainer/trained_model.h"

namespace sy {

struct SampleConfig {
  std::vector<std::string> data_path;  // corpora, each a text of its own
  int64_t tokens = 4096;               // of each
};
// Keys sample_data_path and sample_tokens.
void describe(SampleConfig& samples, Fields& fields);

// Windows as batches of one sequence, text by text; a target < 0 is none. Sets the step state so that losses are summed
// over tokens.
using SeeWindow = std::function<void(size_t text, const Batch& batch, const std::vector<int32_t>& target_T)>;
void for_each_window(TrainedModel& model, const SampleConfig& samples, const SeeWindow& see);

}  // namespace sy
