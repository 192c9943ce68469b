// What flows through an MoE layer: router input, scores, assignment, trace. The layer (layer.cpp) reads top to bottom
//     score -> perturb (hooks) -> select -> capacity -> weigh -> dispatch -> experts -> combine -> losses
// and each step is one of the seams below. Shapes are host-known bounds; true counts live on the device.
//
// T tokens of one routing group (= one micro-batch of `sequences` sequences of `seq_length` tokens), E expert ids,
// N entries of the assignment list (a bound; holes have expert = -1), A the accumulation type.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "csrc/autograd/tape.h"
#include "csrc/nn/parameter.h"
#include "csrc/ops/loss_sink.h"
#include "csrc/ops/ops.h"

namespace sy::moe {

// Decisions are those of the whole micro-batch on every tensor-parallel rank, made from logits that the ranks share;
// only x_TD is a rank's own shard of the tokens (all T on one tensor-parallel rank), from token `first_token` on.
struct RouterInput {
  Var x_TD;            // what the layer sees, in the training type
  Tensor token_id_T;   // i32
  Tensor sample_id_B;  // i64 global sample index of each sequence: keys the random numbers
  int64_t sequences = 0, seq_length = 0;
  int64_t layer = 0;
  int64_t first_token = 0;
  // False while generating: with a limit, a token's result would depend on what else is fed in the same call.
  bool limit_capacity = true;
  int64_t tokens() const { return sequences * seq_length; }
};

struct Scores {
  Var logits_TE;         // A; undefined for routers without logits (hash)
  Var score_TE;          // A, after the link; read by weights and balance losses
  Tensor select_bias_E;  // A, added for the selection only; undefined without a bias hook
};

// A list of (token, expert) pairs, never a T x K rectangle. Blocks of `per_token` consecutive entries belong to one
// token when per_token > 1 (top-k, top-p); expert choice has per_token = 1 and any order.
struct Assignment {
  Tensor token_N, expert_N;  // i32
  Tensor kept_N;             // u8, 0 = dropped by capacity; undefined: everything kept
  int64_t per_token = 1;
};

// What balance losses, hooks, metrics and tests read.
struct RouterTrace {
  const RouterInput* input = nullptr;
  Scores scores;
  Var balance_probability_TE;  // A; undefined if the router offers none
  Assignment demand;           // before capacity
  Assignment assignment;       // after capacity
  Var weight_N;                // A; undefined: every weight is 1
  int64_t experts = 0, per_token = 0;
  // Counts before capacity, i64 [E]: of the step so far including this micro-batch's wave over all ranks, and of the
  // whole previous step.
  Tensor step_demand_E, previous_demand_E;
};

enum class WeightPosition : uint8_t { kExpertOutput, kExpertInput };

// What an implementation of a seam needs to build itself for one layer.
struct LayerBuild {
  ParameterList* parameters = nullptr;
  std::string prefix;  // Hugging Face prefix of the layer's mlp, e.g. "model.layers.3.mlp"
  int64_t layer = 0, hidden_size = 0, vocab_size = 0;
  int64_t num_experts = 0, num_experts_per_tok = 0;
  double initializer_range = 0.02;
  uint64_t seed = 0;
};

// Named persistent tensors that are not parameters (selection biases, tables): saved with checkpoints, never decayed.
struct StateTensor {
  std::string name;
  Tensor tensor;
  bool in_model = true;  // false: only training reads it, so that an exported model lacks it
};

class Router {
 public:
  using Build = LayerBuild;
  virtual ~Router() = default;

  virtual Scores score(Context& ctx, const RouterInput& input) const = 0;
  virtual Assignment select(Context& ctx, const RouterInput& input, const Scores& scores) const = 0;
  // Weights of the entries; `active` [N] u8 or undefined: entries that take no part in a normalisation. Undefined
  // result: all 1.
  virtual Var weigh(Context& ctx, const Scores& scores, const Assignment& assignment, const Tensor& active) const = 0;
  // The probabilities that load-balancing losses act on.
  virtual Var balance_probability(Context&, const Scores& scores) const { return scores.score_TE; }
  virtual WeightPosition weight_position() const { return WeightPosition::kExpertOutput; }
  // True when the selection reads Scores::select_bias_E; a hook that sets it is refused otherwise.
  virtual bool reads_selection_bias() const { return false; }
  // True when one token's experts depend on other tokens: such routing leaks across positions and samples.
  virtual bool needs_batch() const { return false; }
  // Assignments per token: what FLOPs and balance fractions count with (an average for variable selectors).
  virtual double assignments_per_token() const = 0;
  // Bound on N for T tokens in sequences of seq_length: what buffers are sized by.
  virtual int64_t max_assignments(int64_t tokens, int64_t seq_length) const = 0;
  virtual std::vector<StateTensor> state() { return {}; }
  // Whether this is the softmax top-k router of Hugging Face's MoE families, and then whether a token's weights are
  // made to sum to 1 (their norm_topk_prob).
  virtual std::optional<bool> hub_norm_topk_prob() const { return {}; }
};

class Capacity {
 public:
  using Build = LayerBuild;
  virtual ~Capacity() = default;
  // Marks dropped entries in kept_N and may move entries to other experts.
  virtual void limit(Context& ctx, const RouterInput& input, const Scores& scores, Assignment& assignment) const = 0;
  virtual bool identity_overflow() const { return false; }       // a dropped entry contributes weight * x
  virtual bool renormalise_after_drop() const { return false; }  // dropped entries leave the normalisation
  virtual bool is_unlimited() const { return false; }            // no entry is ever dropped or moved
  virtual bool needs_batch() const { return false; }
};

// Adds named losses for one layer's routing, each divided by global denominators.
class Balance {
 public:
  using Build = LayerBuild;
  virtual ~Balance() = default;
  virtual void add_loss(Context& ctx, const RouterTrace& trace, LossSink& sink) const = 0;
};

// Persistent router state that changes once per optimizer step, from counts summed over the global batch.
class Hook {
 public:
  using Build = LayerBuild;
  virtual ~Hook() = default;
  virtual void perturb(Context&, const RouterInput&, Scores&) const {}
  virtual bool sets_selection_bias() const { return false; }  // perturb() sets Scores::select_bias_E
  virtual void after_step(Context&, const Tensor& demand_E) { (void)demand_E; }
  virtual std::vector<StateTensor> state() { return {}; }
};

// How the experts compute: rows sorted by expert slot -> rows. A rank of an expert-parallel group holds the experts
// [first_expert, first_expert + size of intermediate_sizes), and of each of them slice `slice` of `slices` equal slices
// of its intermediate width (expert-tensor parallelism): its results are then partial sums over the slices.
struct ExpertsBuild {
  LayerBuild layer;
  std::vector<int64_t> intermediate_sizes;  // whole widths, one per expert held
  int64_t first_expert = 0;
  int64_t slice = 0, slices = 1;
};
class Experts {
 public:
  using Build = ExpertsBuild;
  virtual ~Experts() = default;
  virtual Var forward(Context& ctx, const Var& rows_RD, const ops::RowIndex& index) const = 0;
  virtual int64_t slots() const = 0;
  virtual Tensor slot_of_expert() const { return {}; }  // [E] i32; undefined: the identity
  // Multiply-adds of one row, averaged over experts (forward): for FLOP counts.
  virtual double macs_per_row() const = 0;
};

}  // namespace sy::moe
