// The log-probability that each of several checkpoints gives to every token of sample texts.
#pragma once

#include <span>
#include <vector>

#include "csrc/merging/posterior.h"
#include "trainer/sample_texts.h"
#include "trainer/stored_model.h"

namespace sy {

// Per window, per model, of the tokens that are targets. One model is in memory at a time.
std::vector<merging::SequenceEvidence> token_evidence(std::span<const StoredModel> models, const SampleConfig& samples);

}  // namespace sy
