// What the capacity policies share: the options, the limit itself and the overflow actions (kernels/moe/capacity.h).
//
//   an expert takes at most C = ceil(factor * K * T / E) entries of a routing group of T tokens (eval_factor in
//   evaluation; generation has no limit, so that a text does not depend on the other rows of its batch)
// overflow: zero = a dropped entry contributes nothing; identity = it contributes weight * x; next_choice = the token
// moves to its best-scoring expert that has room.
#pragma once

#include "csrc/core/fields.h"
#include "csrc/moe/routing.h"

namespace sy::moe {

enum class Overflow { kZero, kIdentity, kNextChoice };

struct CapacityOptions {
  double factor = 1.25;
  double eval_factor = 2.0;
  Overflow overflow = Overflow::kZero;
  bool renormalise_after_drop = false;
};
void describe(CapacityOptions& options, Fields& fields);

// A policy is an order in which entries claim their places.
class CapacityPolicy : public Capacity {
 public:
  CapacityPolicy(const CapacityOptions& options, const Build& build, kernels::CapacityOrder order)
      : options_(options), order_(order), experts_(build.num_experts), per_token_(build.num_experts_per_tok) {}

  void limit(Context& ctx, const RouterInput& input, const Scores& scores, Assignment& assignment) const override;
  bool identity_overflow() const override { return options_.overflow == Overflow::kIdentity; }
  bool renormalise_after_drop() const override { return options_.renormalise_after_drop; }
  bool needs_batch() const override {
    return order_ == kernels::CapacityOrder::kScore || order_ == kernels::CapacityOrder::kTokenScore;
  }

 protected:
  // [T] numbers that rank the tokens, for CapacityOrder::kRandom.
  virtual Tensor priority(Context&, const RouterInput&, DType) const { return {}; }

 private:
  CapacityOptions options_;
  kernels::CapacityOrder order_;
  int64_t experts_, per_token_;
};

}  // namespace sy::moe
