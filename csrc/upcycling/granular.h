// Granular experts: copies of a block, each cut into G shards, behind a router whose rows repeat within a copy, so that
// the best K experts are complete sets of shards and their sum is the whole block. Shared by the methods that start
// exactly from the dense model.
#pragma once

#include <vector>

#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {

// Expert j holds shard j mod G of `block`, whose width G divides.
std::vector<Ffn> granular_experts(const Ffn& block, int64_t num_experts, int64_t granularity);

// What experts' outputs must be multiplied by so that a token's K experts, K / G of each shard, sum to the block.
double granular_scale(const LayerPlan& plan, int64_t granularity);

// UserError unless N and K are multiples of G and experts are G times narrower than `width`.
void require_granular(const LayerPlan& plan, const char* method, int64_t granularity, int64_t width);

}  // namespace sy::upcycling
