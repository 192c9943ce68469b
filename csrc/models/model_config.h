// The shape of the decoder: `model` (keys of Hugging Face config.json) and `moe` (keys of Qwen3-MoE and DeepSeek).
#pragma once

#include <cstdint>
#include <vector>

#include "csrc/core/fields.h"
#include "csrc/moe/layer.h"

namespace sy {

enum class RopeScalingType { kNone, kLinear, kLlama3 };

// What a norm of queries or keys is taken over: each head by itself (Qwen3), or all heads of a token (OLMoE).
enum class QkNormScope { kHead, kAllHeads };

// How rotary positions stretch beyond the context the frequencies were made for.
struct RopeScalingConfig {
  RopeScalingType type = RopeScalingType::kNone;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;

  bool operator==(const RopeScalingConfig&) const = default;
};

struct ModelConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScalingConfig rope_scaling = {};
  int64_t max_position_embeddings = 4096;
  int64_t sliding_window = 0;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool use_qk_norm = false;
  QkNormScope qk_norm_scope = QkNormScope::kHead;
  double embedding_multiplier = 1;
  double residual_multiplier = 1;
  double attention_multiplier = 0;
  double logits_scaling = 1;
  double initializer_range = 0.02;
  int64_t pad_vocab_size_to = 128;

  // Width of one head, number of key/value heads and vocabulary rows, with their defaults filled in.
  int64_t head_size() const { return head_dim != 0 ? head_dim : hidden_size / num_attention_heads; }
  int64_t kv_heads() const { return num_key_value_heads != 0 ? num_key_value_heads : num_attention_heads; }
  // Keys that a token of a sequence sees on average, itself among them.
  double mean_keys(int64_t seq_length) const;
  int64_t padded_vocab_size() const {
    return (vocab_size + pad_vocab_size_to - 1) / pad_vocab_size_to * pad_vocab_size_to;
  }
  bool operator==(const ModelConfig&) const = default;
};

struct MoeConfig {
  int64_t num_experts = 0;
  int64_t num_experts_per_tok = 2;
  int64_t moe_intermediate_size = 0;
  int64_t shared_expert_intermediate_size = 0;
  bool shared_expert_gate = false;
  int64_t first_k_dense_replace = 0;
  int64_t moe_layer_freq = 1;
  std::vector<int64_t> num_experts_per_layer = {};
  std::vector<int64_t> expert_intermediate_sizes = {};
  // Router, capacity, experts, balance, hooks: further keys of the same YAML section. Compared through print_fields, as
  // a component's Config has no ==.
  moe::MoeChoices methods = {};

  bool is_moe() const { return num_experts > 0 || !num_experts_per_layer.empty(); }
  // Routed experts of layer i, counted from 0; 0 for a dense layer.
  int64_t num_experts_in_layer(int64_t layer) const;
  // Intermediate size of one routed expert.
  int64_t expert_intermediate_size(int64_t expert) const;
};

void describe(RopeScalingConfig& config, Fields& fields);
void describe(ModelConfig& config, Fields& fields);
void describe(MoeConfig& config, Fields& fields);

// Checks that need both, as describe() of a struct sees only its own fields. Keys are "model.x" and "moe.x".
void require_consistent(const ModelConfig& model, const MoeConfig& moe, Fields& fields);

}  // namespace sy
