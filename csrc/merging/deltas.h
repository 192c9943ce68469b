// Operations on task vectors  tau_i = theta_i - theta_0,  f64 on the host: linear combination, and what makes them
// sparse. Pure functions; n elements each.
#pragma once

#include <cstdint>
#include <vector>

#include "csrc/merging/merging.h"

namespace sy::merging {

using Vectors = std::vector<std::vector<double>>;

// sum_i coefficient_i v_i; with a base theta_0 + sum.
std::vector<double> linear(const Vectors& v, const std::vector<double>& coefficients,
                           const std::vector<double>& base_n = {});
Vectors deltas(const MergeSet& set);

// Keeps the floor(kept_share n) elements of largest magnitude, of equal ones the first; zeroes the others.
void trim(std::vector<double>& delta_n, double kept_share);
// Zeroes each element with probability `drop_rate` and divides the others by 1 - drop_rate; every input has a mask of
// its own, keyed by the seed, the tensor's name and the input's place.
void drop_and_rescale(Vectors& deltas, double drop_rate, const std::string& name, uint64_t seed);

// The sign of sum_i v_i per element; where that is zero, the sign of most elements (positive if they balance).
std::vector<int8_t> elected_signs(const Vectors& v);
enum class Disjoint { kMean, kSum };
// Per element, the mean or sum of the v_i that have the elected sign; 0 where none has.
std::vector<double> disjoint_merge(const Vectors& v, const std::vector<int8_t>& sign_n, Disjoint mode);

}  // namespace sy::merging
