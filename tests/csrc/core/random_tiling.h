// Random tilings of random tensors: recursive cuts into boxes, some of them further into flat ranges as ZeRO does.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "csrc/core/box.h"

namespace sy::testing {

inline int64_t uniform(std::mt19937& rng, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(rng);
}

inline std::vector<int64_t> random_shape(std::mt19937& rng, int64_t min_dims, int64_t max_dims) {
  std::vector<int64_t> shape(static_cast<size_t>(uniform(rng, min_dims, max_dims)));
  for (int64_t& dim : shape) dim = uniform(rng, 1, 6);
  return shape;
}

inline void cut(std::mt19937& rng, const Box& box, std::vector<Region>& regions) {
  std::vector<size_t> wide;
  for (size_t d = 0; d < box.extent.size(); ++d) {
    if (box.extent[d] > 1) wide.push_back(d);
  }
  if (!wide.empty() && uniform(rng, 0, 9) < 6) {
    const size_t d = wide[static_cast<size_t>(uniform(rng, 0, static_cast<int64_t>(wide.size()) - 1))];
    Box low = box;
    Box high = box;
    low.extent[d] = uniform(rng, 1, box.extent[d] - 1);
    high.start[d] += low.extent[d];
    high.extent[d] -= low.extent[d];
    cut(rng, low, regions);
    cut(rng, high, regions);
    return;
  }
  std::vector<int64_t> cuts = {0, box.count()};
  for (int64_t i = uniform(rng, 0, 1) * uniform(rng, 0, 3); i > 0; --i) cuts.push_back(uniform(rng, 0, box.count()));
  std::sort(cuts.begin(), cuts.end());
  for (size_t i = 0; i + 1 < cuts.size(); ++i) regions.push_back({box, cuts[i], cuts[i + 1]});  // some are empty
}

// Regions in random order that hold every element of a tensor exactly once.
inline std::vector<Region> random_tiling(std::mt19937& rng, const std::vector<int64_t>& shape) {
  std::vector<Region> regions;
  cut(rng, Box::whole(shape), regions);
  std::shuffle(regions.begin(), regions.end(), rng);
  return regions;
}

}  // namespace sy::testing
