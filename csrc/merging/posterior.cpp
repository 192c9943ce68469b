#include "csrc/merging/posterior.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "csrc/core/check.h"

namespace sy::merging {

namespace {

double log_sum_exp(std::span<const double> x_M) {
  const double largest = *std::max_element(x_M.begin(), x_M.end());
  double sum = 0;
  for (const double x : x_M) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

}  // namespace

Mixture mix(const SequenceEvidence& evidence, std::span<const double> prior_M) {
  SY_CHECK(evidence.size() == prior_M.size() && !evidence.empty(), "{} models, {} priors", evidence.size(),
           prior_M.size());
  std::vector<double> log_joint_M;  // of the model and the text so far
  for (const double p : prior_M) log_joint_M.push_back(std::log(p));
  const double before = log_sum_exp(log_joint_M);
  for (size_t e = 0; e < evidence.size(); ++e)
    log_joint_M[e] = std::accumulate(evidence[e].begin(), evidence[e].end(), log_joint_M[e]);
  // The product over tokens of sum_e posterior_t(e) p_e(x_t) telescopes to the ratio of the joint probabilities.
  const double after = log_sum_exp(log_joint_M);
  Mixture result{.posterior_M = {}, .log_probability = after - before};
  for (const double joint : log_joint_M) result.posterior_M.push_back(std::exp(joint - after));
  return result;
}

std::vector<double> cached_prior(const std::vector<SequenceEvidence>& sequences, double decay) {
  SY_CHECK(!sequences.empty(), "no sequence to take a prior from");
  const size_t models = sequences.front().size();
  const std::vector<double> equal(models, 1 / static_cast<double>(models));
  std::vector<double> prior_M(models, 0.0);
  for (const SequenceEvidence& sequence : sequences) {
    const Mixture mixture = mix(sequence, equal);
    for (size_t e = 0; e < models; ++e) prior_M[e] = decay * prior_M[e] + mixture.posterior_M[e];
  }
  const double total = std::accumulate(prior_M.begin(), prior_M.end(), 0.0);
  for (double& p : prior_M) p /= total;
  return prior_M;
}

}  // namespace sy::merging
