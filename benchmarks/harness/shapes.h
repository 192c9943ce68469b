// Shapes of MoE layers that benchmarks know by name: hidden size d, expert width n, experts E, experts per token K.
#pragma once

#include <string>
#include <vector>

#include "csrc/core/check.h"

namespace sy::bench {

struct MoeShape {
  std::string name;
  int64_t hidden = 0, width = 0, experts = 0, k = 0;
};

// Published models, then the shapes of SonicMoE's comparison (arXiv 2512.14080) as sonic_<d>_<n>_<E>_<K>.
// deepseek_v3 is one of eight expert-parallel ranks: 32 of 256 experts.
std::vector<MoeShape> named_shapes();
// A name, "core" (three models), "all", or four numbers d,n,E,K. UserError otherwise.
std::vector<MoeShape> find_shapes(const std::string& text);

}  // namespace sy::bench
