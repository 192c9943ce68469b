// Ways to divide the neurons of a block among experts. F neurons, E experts of F / E neurons each.
#pragma once

#include <cstdint>
#include <vector>

#include "csrc/upcycling/ffn.h"

namespace sy::upcycling {

using Partition = std::vector<std::vector<int64_t>>;  // the neurons of each expert

Partition random_partition(int64_t neurons, int64_t experts, const Stream& stream);

// Rows of length 1, so that distances compare directions.
std::vector<double> unit_rows(const std::vector<double>& rows_FD, int64_t columns);

// k-means with clusters of exactly F / E rows: pairs of row and centre are taken by rising distance while the centre
// has room. Centres start at randomly chosen rows.
Partition balanced_kmeans(const std::vector<double>& rows_FD, int64_t columns, int64_t experts, int64_t iterations,
                          const Stream& stream);

// Parts of equal size with much weight inside them: from a random partition, neurons of two parts change places as long
// as that adds weight (Kernighan and Lin 1970), at most `passes` times over all pairs. weight_FF symmetric with a
// diagonal of 0. A local maximum.
Partition heavy_parts(const std::vector<double>& weight_FF, int64_t neurons, int64_t experts, int64_t passes,
                      const Stream& stream);

// Every expert's share of the neurons by how much it wants them, want_EF: pairs are taken by falling want while the
// expert has room for F / E neurons and the neuron is free.
Partition by_falling_want(const std::vector<std::vector<double>>& want_EF);

// The `count` neurons of largest want, rising; of equal ones the first.
std::vector<int64_t> most_wanted(const std::vector<double>& want_F, int64_t count);

}  // namespace sy::upcycling
