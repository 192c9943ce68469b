// Grouped-query self-attention with rotary positions, optional q and k norms, and a key-value cache for generation.
#pragma once

#include "csrc/nn/parameter.h"
#include "csrc/ops/ops.h"

namespace sy::nn {

struct AttentionPlan {
  int64_t hidden_size = 0;
  ops::AttentionShape shape;
  bool qkv_bias = false;
  bool use_qk_norm = false;
  bool norm_all_heads = false;  // a norm of q and one of k per token, on one tensor-parallel rank; else one per head
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  int64_t sliding_window = 0;  // of decode(); forward() sees what Positions say
};

// Where the tokens of a batch stand: shared by all layers.
struct Positions {
  Tensor position_T;   // i32, restarts at 0 in every document when documents are masked
  Tensor first_key_T;  // i32 index of the first token that each token may attend to
  Tensor inv_freq;     // [head_dim/2] f64
  double rope_scale = 1.0;
  int64_t max_span = 0;
};

// Cached keys and values of one layer: [batch, capacity, kv_heads*head_dim] each, in the training type.
struct KeyValueCache {
  Tensor k, v;
  int64_t capacity = 0;
};

// Parameters: "<prefix>.qkv_proj" [(H + 2 Hkv) head_dim, D] (parts q_proj, k_proj, v_proj), "<prefix>.o_proj.weight",
// with biases "<prefix>.qkv_bias" [(H + 2 Hkv) head_dim] (parts alike), and with qk-norm "<prefix>.q_norm.weight",
// "<prefix>.k_norm.weight" [head_dim], or [H head_dim] and [Hkv head_dim] where all heads are normed together.
//
// Tensor-parallel ranks hold whole heads: H / ranks query heads each and the key-value heads that these use. With more
// ranks than key-value heads several ranks hold the same one, and its weights form a parameter of their own,
// "<prefix>.kv_proj", its biases "<prefix>.kv_bias".
class Attention {
 public:
  Attention(ParameterList& parameters, const std::string& prefix, const AttentionPlan& plan);
  Var forward(Context& ctx, const Var& x_TD, const Positions& positions) const;
  // New tokens [batch*count, D] after `past` [batch] i32 cached ones; appends their keys and values. No tape.
  Tensor decode(Context& ctx, const Tensor& x, const Positions& positions, const Tensor& past, int64_t batch,
                const KeyValueCache& cache) const;

 private:
  // Weights or biases of all heads; of the query heads alone where ranks share key-value heads, which kv holds then.
  struct Heads {
    Parameter* qkv = nullptr;
    Parameter* kv = nullptr;
  };
  Var project(Context& ctx, const Var& x_TD, const Positions& positions) const;

  void add_projections(ParameterList& parameters, const std::string& prefix);

  AttentionPlan plan_;         // of the model
  ops::AttentionShape local_;  // of this rank
  Heads weight_, bias_;        // bias_: empty without biases
  Parameter* out_;
  Parameter* q_norm_ = nullptr;
  Parameter* k_norm_ = nullptr;
};

}  // namespace sy::nn
