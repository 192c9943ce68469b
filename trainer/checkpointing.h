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
#include "trainer/config.h"
#include "trainer/optimizer.h"

namespace sy {

// Every tensor of a checkpoint of this model, whatever this rank holds of it; of them, those of the model itself:
// parameters and the router state that decides about tokens. A weights-only checkpoint holds no others.
std::vector<CheckpointTensor> checkpoint_tensors(Decoder& decoder);
std::vector<CheckpointTensor> model_tensors(Decoder& decoder);
// What files of weights call a model's tensor: router state stands there without "state.".
std::string name_in_model(const std::string& name_in_checkpoint);

// The configuration that a checkpoint was written with; the layout that trained it does not matter.
Config config_of(const CheckpointReader& reader);
bool is_weights_only(const CheckpointReader& reader);
// UserError if the checkpoint's tensors are not exactly this model's, with the optimizer's or without.
void require_model(const CheckpointReader& reader, Decoder& decoder);

// Every rank of ctx's mesh calls; returns the published directory.
std::string save_checkpoint(Context& ctx, Decoder& decoder, Optimizer& optimizer, const std::string& folder,
                            const CheckpointState& state, int64_t keep_last);

// Sets the model's tensors, after require_model().
void load_model(Context& ctx, Decoder& decoder, const CheckpointReader& reader);
// Sets parameters, router state and, when given, the optimizer's moments; a model for generation needs neither masters
// nor an optimizer. UserError if the checkpoint's tensors are not exactly this model's, or if an optimizer is given and
// the checkpoint holds weights only.
void load_checkpoint(Context& ctx, Decoder& decoder, Optimizer* optimizer, const CheckpointReader& reader);

}  // namespace sy
