// What a layer's feed-forward block meets on sample texts, and what its neurons make of it: for methods that look at
// data. T tokens, D width, F neurons; sums in f64.
#pragma once

#include <span>
#include <vector>

#include "csrc/upcycling/ffn.h"

namespace sy::upcycling {

// Of one text.
struct BlockSamples {
  std::vector<float> x_TD;   // the block's input, after the norm
  std::vector<float> dy_TD;  // d loss / d output of the block, each token's loss counted whole; empty unless asked for
};

using LayerSamples = std::vector<BlockSamples>;  // one per text

// x of every text, one after the other.
std::vector<float> all_inputs(const LayerSamples& samples);

// Rows [R, D] by tokens: x rows^T [T, R].
std::vector<double> products(std::span<const float> x_TD, std::span<const double> rows_RD, int64_t hidden_size);
// h = silu(W_gate x) * (W_up x) [T, F].
std::vector<double> activations(const Ffn& ffn, std::span<const float> x_TD);
// FFN(x) [T, D].
std::vector<double> outputs(const Ffn& ffn, std::span<const float> x_TD);
// Mean over tokens of |h dloss/dh| [F]: what the loss would change, to first order, without the neuron.
std::vector<double> salience(const Ffn& ffn, const BlockSamples& samples);
// Tokens on which neurons i and j both fire [F, F], the diagonal 0. A neuron fires where its |h| is among the token's
// `active` largest.
std::vector<double> coactivation(const Ffn& ffn, std::span<const float> x_TD, int64_t active);

}  // namespace sy::upcycling
