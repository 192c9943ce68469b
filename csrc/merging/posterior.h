// Which of several language models wrote a text, and what they predict together (Bayes' rule over the text so far).
//
//   posterior_t(e) ~ prior(e) product_{s<t} p_e(x_s | x_<s);   p(x_t | x_<t) = sum_e posterior_t(e) p_e(x_t | x_<t)
// M models; log-probabilities in nats.
#pragma once

#include <span>
#include <vector>

namespace sy::merging {

// ln p_e(x_t | x_<t) of every token of one sequence, by model: [M][T].
using SequenceEvidence = std::vector<std::vector<double>>;

struct Mixture {
  std::vector<double> posterior_M;  // after the whole sequence
  double log_probability = 0;       // of the sequence under the mixture
};
Mixture mix(const SequenceEvidence& evidence, std::span<const double> prior_M);

// sum_i decay^i posterior(i) over the sequences, i counted from the last, divided by its sum: each posterior from equal
// priors. decay 1: their mean.
std::vector<double> cached_prior(const std::vector<SequenceEvidence>& sequences, double decay);

}  // namespace sy::merging
