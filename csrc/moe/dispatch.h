// Dispatch: a rank's tokens to the experts that the assignment names, and the weighted sums of their results back.
//
// Two implementations: all experts on this rank (dispatch.cpp), and experts spread over the ranks of an expert group
// (parallel/expert_parallel.cpp).
#pragma once

#include <functional>
#include <memory>

#include "csrc/moe/routing.h"

namespace sy::moe {

struct DispatchInput {
  Var x_TD;                 // this rank's tokens [S, D]
  Assignment assignment;    // of the whole micro-batch
  Var weight_N;             // A; undefined: every weight is 1
  int64_t first_token = 0;  // of this rank, in the micro-batch
  WeightPosition weight_position = WeightPosition::kExpertOutput;
  bool identity_overflow = false;  // a dropped entry contributes weight * x
  int64_t* sent_bytes = nullptr;   // += bytes of token rows that leave this rank for others, one way; null: not counted
  // Work that needs nothing of the dispatch (shared experts): called once, where rows travel if they do.
  std::function<void()> meanwhile;
};

class Dispatch {
 public:
  virtual ~Dispatch() = default;
  // -> [S, D]: for each of this rank's tokens the sum over its entries of weight * expert(x).
  virtual Var forward(Context& ctx, const DispatchInput& input, const Experts& experts) const = 0;
};

// For the mesh of `ctx`; `num_experts` of the layer.
std::unique_ptr<Dispatch> make_dispatch(const Context& ctx, int64_t num_experts);
// parallel/expert_parallel.cpp
std::unique_ptr<Dispatch> make_expert_parallel_dispatch(Mesh& mesh, int64_t num_experts);

// The entries of this rank's tokens, counted from its first one; those of other tokens are holes. Entries keep their
// place, so that weights and kept marks go with them.
Assignment own_entries(Context& ctx, const DispatchInput& input, bool only_dropped = false);
// What dropped entries contribute under overflow `identity`: weight * x, summed per token [S, D].
Var identity_of_dropped(Context& ctx, const DispatchInput& input, int64_t num_experts);

}  // namespace sy::moe
