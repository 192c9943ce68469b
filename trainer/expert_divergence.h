// How far the experts of an MoE layer have moved apart: the mean over pairs of experts of 1 - cos(w_i, w_j), where w_e
// holds all weights of expert e in one row. 0 for copies, near 1 for experts drawn independently, near r (2 - r) after
// replacing a fraction r of the neurons of each copy.
//
// With u_e = w_e / |w_e| and their mean u over E experts that is  sum_e |u_e - u|^2 / (E - 1):  ranks that share the
// experts, or each expert's matrices, need nothing but sums, and equal experts do not cancel to noise.
#pragma once

#include <vector>

#include "csrc/models/decoder.h"

namespace sy {

struct LayerDivergence {
  int64_t layer = 0;  // of the decoder
  double mean_cosine_distance = 0;
};

// Of every MoE layer with more than one expert, all of one width; equal on all ranks of ctx's mesh, which all call.
// Measures the weights that ops compute with. Holds one layer's experts of this rank in f64 beside the model.
std::vector<LayerDivergence> expert_divergence(Context& ctx, Decoder& decoder);

}  // namespace sy
