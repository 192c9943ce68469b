// What the feed-forward blocks of a checkpoint meet on sample texts: their inputs and, if asked for, the gradients of
// the loss by their outputs (csrc/upcycling/samples.h). One forward, or one forward and backward, in the checkpoint's
// own training type on this process's CPU.
#pragma once

#include <vector>

#include "csrc/upcycling/upcycling.h"
#include "trainer/sample_texts.h"
#include "trainer/stored_model.h"

namespace sy {

// Per layer, per text; tokens without a target are left out.
std::vector<upcycling::LayerSamples> block_samples(const StoredModel& model, const SampleConfig& samples,
                                                   upcycling::SampleNeed need);

}  // namespace sy
