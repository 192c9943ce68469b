// Training state <-> checkpoint directory: parameters (exact values, per part), moments, router state.
//
// Tensors in a checkpoint: "<parameter>" with the part's Hugging Face name, "optimizer.m.<parameter>" and
// "optimizer.v.<parameter>" likewise, "state.<name>". Vocabulary padding is not stored (its values and moments are
// zero). Rank r of n writes the parameters whose index is r modulo n; any number of ranks reads.
#pragma once

#include <string>

#include "csrc/io/checkpoint.h"
#include "csrc/models/decoder.h"
#include "parallel/comm.h"
#include "trainer/optimizer.h"

namespace sy {

CheckpointRanks checkpoint_ranks(Comm& comm);

// Every rank calls; returns the published directory.
std::string save_checkpoint(Context& ctx, Decoder& decoder, Optimizer& optimizer, Comm& comm, const std::string& folder,
                            const CheckpointState& state, int64_t keep_last);

// Sets parameters, router state and, when given, the optimizer's moments; a model for generation needs neither masters
// nor an optimizer. UserError if the checkpoint's tensors are not exactly this model's.
void load_checkpoint(Context& ctx, Decoder& decoder, Optimizer* optimizer, const CheckpointReader& reader);

}  // namespace sy
