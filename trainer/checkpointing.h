// Training state <-> checkpoint directory: parameters (exact values, per part), moments, router state.
//
// Tensors in a checkpoint: "<name>" for every Hugging Face tensor of the model, "optimizer.m.<name>" and
// "optimizer.v.<name>", "state.<name>". Vocabulary padding is not stored (its values and moments are zero). A rank
// writes its share of each bucket: flat ranges inside the boxes that it holds of the tensors. Any mesh reads what any
// mesh wrote.
#pragma once

#include <string>
#include <vector>

#include "csrc/io/checkpoint.h"
#include "csrc/models/decoder.h"
#include "trainer/optimizer.h"

namespace sy {

// Every tensor of a checkpoint of this model, whatever this rank holds of it.
std::vector<CheckpointTensor> checkpoint_tensors(Decoder& decoder);

// Every rank of ctx's mesh calls; returns the published directory.
std::string save_checkpoint(Context& ctx, Decoder& decoder, Optimizer& optimizer, const std::string& folder,
                            const CheckpointState& state, int64_t keep_last);

// Sets parameters, router state and, when given, the optimizer's moments; a model for generation needs neither masters
// nor an optimizer. UserError if the checkpoint's tensors are not exactly this model's.
void load_checkpoint(Context& ctx, Decoder& decoder, Optimizer* optimizer, const CheckpointReader& reader);

}  // namespace sy
