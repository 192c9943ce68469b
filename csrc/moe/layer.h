// The MoE layer: score -> perturb -> select -> capacity -> weigh -> dispatch -> experts -> combine -> losses (layer.cpp
// reads in that order), plus optional shared experts that see every token.
#pragma once

#include <memory>

#include "csrc/core/registry.h"
#include "csrc/moe/dispatch.h"
#include "csrc/moe/routing.h"
#include "csrc/nn/mlp.h"

namespace sy::moe {

// The choices of one MoE layer, taken from the YAML section `moe`.
struct MoeChoices {
  Component<Router> router{"softmax_topk"};
  Component<Capacity> capacity{"dropless"};
  Component<Experts> experts{"swiglu"};
  ComponentList<Balance> balance;
  ComponentList<Hook> hooks;
  bool allow_batch_dependent_routing = false;
};
// `is_moe` false: a dense model, where none of these keys has an effect.
void describe(MoeChoices& choices, Fields& fields, bool is_moe = true);

struct MoeLayerPlan {
  std::vector<int64_t> expert_intermediate_sizes;  // one per routed expert
  int64_t num_experts_per_tok = 2;
  int64_t shared_expert_intermediate_size = 0;  // 0: no shared expert
  bool shared_expert_gate = false;              // its result is weighted by sigmoid(x W^T), W [1, D]
};

// Counters of one layer over one optimizer step, summed over micro-batches, then over data-parallel ranks (tensor-
// parallel ranks count the same micro-batches).
struct RoutingStats {
  Tensor demand_E, kept_E;   // i64: assignments before and after capacity
  Tensor previous_demand_E;  // i64: of the whole previous step
  Tensor entropy;            // f64 [1]: mean entropy of the router probabilities over the batch, in nats
};

class MoeLayer {
 public:
  MoeLayer(const MoeChoices& choices, const MoeLayerPlan& plan, const LayerBuild& build);

  // x_TD: the normed hidden states, as they lie between tensor-parallel parts (parallel/collective_ops.h), also on
  // return. Losses go to `sink`, counts to the layer's stats (both only once under recompute).
  Var forward(Context& ctx, const RouterInput& input, LossSink& sink);

  RoutingStats& stats() { return stats_; }
  // Bytes of token rows that this rank sent to the experts of other ranks in this optimizer step, one way.
  int64_t dispatched_bytes() const { return dispatched_bytes_; }
  void reset_stats(Context& ctx);
  const Router& router() const { return *router_; }
  const Capacity& capacity() const { return *capacity_; }
  int64_t num_experts() const { return experts_count_; }
  double assignments_per_token() const { return router_->assignments_per_token(); }
  bool needs_batch() const { return router_->needs_batch() || capacity_->needs_batch(); }
  // Router state moves once per optimizer step, from counts already summed over ranks.
  void after_step(Context& ctx);
  std::vector<StateTensor> state();
  // Forward multiply-adds per token (routed and shared experts and the router).
  double macs_per_token() const;
  // Of the routed experts alone; equals the routed parameters that one token uses.
  double routed_macs_per_token() const { return router_->assignments_per_token() * experts_->macs_per_row(); }

 private:
  Assignment assign(Context& ctx, const RouterInput& input, const Scores& scores, Assignment& demand) const;
  Var shared_forward(Context& ctx, const Var& between) const;
  void count(Context& ctx, RouterTrace& trace);

  std::unique_ptr<Router> router_;
  std::unique_ptr<Capacity> capacity_;
  std::unique_ptr<Experts> experts_;
  std::unique_ptr<Dispatch> dispatch_;
  std::unique_ptr<nn::SwigluMlp> shared_;
  Parameter* shared_gate_ = nullptr;
  std::vector<std::unique_ptr<Balance>> balance_;
  std::vector<std::unique_ptr<Hook>> hooks_;
  RoutingStats stats_;
  int64_t dispatched_bytes_ = 0;
  std::string prefix_;
  int64_t experts_count_, per_token_, hidden_size_, shared_width_;
};

}  // namespace sy::moe
