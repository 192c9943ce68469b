// Router rows fitted to data: a linear router z = R x whose selection is to follow targets that the dense block gives.
// T tokens, D width, E experts.
#pragma once

#include <span>
#include <vector>

#include "csrc/core/fields.h"
#include "csrc/upcycling/ffn.h"

namespace sy::upcycling {

struct RouterFit {
  int64_t epochs = 30;
  double learning_rate = 0.01;  // of Adam
  int64_t batch_size = 512;     // tokens
  double logit_deviation = 0.01;
};
// Keys router_epochs, router_lr and logit_deviation.
void describe(RouterFit& fit, Fields& fields);

// The loss of one token's logits against its targets; sets d loss / d logits.
using TokenLoss = double(std::span<const double> target_E, std::span<const double> logits_E,
                         std::span<double> dlogits_E);
// Sum over experts of the binary cross-entropy of sigmoid(z) with targets in [0, 1].
TokenLoss binary_cross_entropy;
// sum_e g_e ln(g_e / t_e),  g = softmax(z).
TokenLoss divergence_from;

// Adam on rows [E, D] over nine tenths of the tokens, drawn at random, in an order drawn per epoch; the result is that
// of the epoch, or the start, with the lowest loss on the others, scaled to the logit deviation. At least two tokens.
std::vector<double> fit_router(std::vector<double> rows_ED, std::span<const float> x_TD,
                               std::span<const double> target_TE, int64_t hidden_size, const RouterFit& fit,
                               TokenLoss loss, const Stream& stream);

std::vector<double> softmax(std::span<const double> x_E);

// The experts with the k smallest values, of equal ones the first, as 1 among 0.
std::vector<double> smallest(std::span<const double> value_E, int64_t k);

// Multiplies the rows so that, over the tokens, logits deviate from their token's mean by `deviation` (root mean
// square). The selection stays; a softmax over selected experts becomes nearly uniform for a small one.
void set_logit_deviation(std::vector<double>& rows_ED, std::span<const float> x_TD, int64_t hidden_size,
                         double deviation);

}  // namespace sy::upcycling
