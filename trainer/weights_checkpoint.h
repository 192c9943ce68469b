// Weights-only checkpoints: what a conversion makes and a new run starts from. A checkpoint of step 0 as training
// writes them, with the model's tensors (checkpointing.h: model_tensors) and none of `optimizer.*`.
#pragma once

#include <string>

#include "csrc/io/checkpoint.h"
#include "csrc/io/tensor_source.h"
#include "csrc/models/decoder.h"
#include "trainer/config.h"

namespace sy {

// Writes the model of `config` with the tensors of `source`, which has them under their Hugging Face names (router
// state under its name in exported folders), one in memory at a time:
//   folder/config.yaml                    `config`, with which a run can be started
//   folder/checkpoints/step_00000000      the weights, in the accumulation type of train.dtype
// `folder` is there and empty (a NewFolder, so that an error leaves nothing). Every tensor is read once and written
// once; UserError names the first that is missing, of another shape or type, not finite, or has no place in the model.
// `label` names the command in the progress.
void write_weights_checkpoint(const std::string& folder, const Config& config, const TensorSource& source,
                              const std::string& label);

// Empty if weights of the one are weights of the other; else e.g. "model.hidden_size is 256 there and 512 here". Free
// are what only training or memory feel: initializer_range, pad_vocab_size_to, max_position_embeddings, balance,
// capacity.
std::string first_model_difference(const Config& there, const Config& here);

// Sets the model's tensors from a checkpoint, whether or not it holds more than them; every rank of ctx's mesh calls.
// UserError names the first key in which the models differ.
void load_pretrained(Context& ctx, Decoder& decoder, const Config& config, const CheckpointReader& reader);
// The same from checkpoint.pretrained_checkpoint; returns its step directory, or "" where the key is empty and nothing
// is done.
std::string start_from_pretrained(Context& ctx, Decoder& decoder, const Config& config);

}  // namespace sy
