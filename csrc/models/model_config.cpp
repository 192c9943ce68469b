#include "csrc/models/model_config.h"

#include <algorithm>

namespace sy {

namespace {

// Bounds far above any model, so that products of two sizes stay far below 2^63.
constexpr double kMaxTokenId = 2147483647;  // token ids are stored in 32 bits
constexpr double kMaxPosition = 1 << 30;
constexpr double kMaxWidth = 1 << 24;
constexpr double kMaxCount = 1 << 16;  // layers, heads, experts

bool divides(int64_t divisor, int64_t number) { return divisor > 0 && number % divisor == 0; }

}  // namespace

double ModelConfig::mean_keys(int64_t seq_length) const {
  const double length = static_cast<double>(seq_length);
  const double window = sliding_window == 0 ? length : std::min(static_cast<double>(sliding_window), length);
  return window - window * (window - 1) / (2 * length);  // the first tokens see fewer than a window
}

int64_t MoeConfig::num_experts_in_layer(int64_t layer) const {
  if (!num_experts_per_layer.empty()) return num_experts_per_layer.at(static_cast<std::size_t>(layer));
  return layer >= first_k_dense_replace && layer % moe_layer_freq == 0 ? num_experts : 0;
}

int64_t MoeConfig::expert_intermediate_size(int64_t expert) const {
  if (expert_intermediate_sizes.empty()) return moe_intermediate_size;
  return expert_intermediate_sizes.at(static_cast<std::size_t>(expert));
}

void describe(RopeScalingConfig& c, Fields& f) {
  using Type = RopeScalingType;
  f.field("type", c.type, {{"none", Type::kNone}, {"linear", Type::kLinear}, {"llama3", Type::kLlama3}},
          "none; linear divides every position by factor; llama3 (Llama 3.1) stretches only the slow frequencies");
  const bool is_llama3 = c.type == Type::kLlama3;
  f.field("factor", c.factor, "how many times longer the context becomes",
          {.min = 1, .active = c.type != Type::kNone, .active_when = "type is linear or llama3"});
  f.field("low_freq_factor", c.low_freq_factor,
          "wavelengths above original_max_position_embeddings / low_freq_factor are stretched by factor",
          {.min = 0, .above_min = true, .active = is_llama3, .active_when = "type is llama3"});
  f.field("high_freq_factor", c.high_freq_factor,
          "wavelengths below original_max_position_embeddings / high_freq_factor stay; between the two is a ramp",
          {.min = 0, .above_min = true, .active = is_llama3, .active_when = "type is llama3"});
  f.field("original_max_position_embeddings", c.original_max_position_embeddings,
          "context length that the unscaled frequencies were trained for",
          {.min = 1, .max = kMaxPosition, .active = is_llama3, .active_when = "type is llama3"});
  f.require(!is_llama3 || c.high_freq_factor > c.low_freq_factor, "high_freq_factor",
            fmt::format("{} must be greater than low_freq_factor {}", c.high_freq_factor, c.low_freq_factor));
}

void describe(ModelConfig& c, Fields& f) {
  f.field("vocab_size", c.vocab_size, "token ids, without padding (bytes need 257 with the end-of-document token)",
          {.min = 1, .max = kMaxTokenId, .required = true});
  f.field("hidden_size", c.hidden_size, "width of the residual stream", {.min = 1, .max = kMaxWidth, .required = true});
  f.field("intermediate_size", c.intermediate_size, "SwiGLU width of the dense layers; needed when there are any",
          {.min = 0, .max = kMaxWidth});
  f.field("num_hidden_layers", c.num_hidden_layers, "decoder blocks", {.min = 1, .max = kMaxCount, .required = true});
  f.field("num_attention_heads", c.num_attention_heads, "query heads", {.min = 1, .max = kMaxCount, .required = true});
  f.field("num_key_value_heads", c.num_key_value_heads,
          "key/value heads, each shared by an equal group of query heads; 0: as many as query heads",
          {.min = 0, .max = kMaxCount});
  f.field("head_dim", c.head_dim, "width of one head; 0: hidden_size / num_attention_heads",
          {.min = 0, .max = kMaxWidth});
  f.field("rms_norm_eps", c.rms_norm_eps, "added to the mean square in every RMSNorm", {.min = 0, .above_min = true});
  f.field("rope_theta", c.rope_theta, "base of the rotary frequencies", {.min = 0, .above_min = true});
  f.section("rope_scaling", "Longer contexts than the rotary frequencies were made for.",
            [&](Fields& inside) { describe(c.rope_scaling, inside); });
  f.field("max_position_embeddings", c.max_position_embeddings, "longest sequence the model is meant for",
          {.min = 1, .max = kMaxPosition});
  f.field("sliding_window", c.sliding_window,
          "keys that a token attends to: itself and those before it in its document; 0: all of them (full attention)",
          {.min = 0, .max = kMaxPosition});
  f.field("tie_word_embeddings", c.tie_word_embeddings, "the output layer uses the embedding matrix");
  f.field("qkv_bias", c.qkv_bias, "the projections to queries, keys and values have biases");
  f.field("use_qk_norm", c.use_qk_norm, "RMSNorm of queries and keys before the rotation");
  f.field("qk_norm_scope", c.qk_norm_scope, {{"head", QkNormScope::kHead}, {"all_heads", QkNormScope::kAllHeads}},
          "head: over each head by itself (Qwen3); all_heads: over all heads of a token together (OLMoE)",
          {.active = c.use_qk_norm, .active_when = "use_qk_norm is true"});
  f.field("embedding_multiplier", c.embedding_multiplier, "multiplies the embeddings (Granite)",
          {.min = 0, .above_min = true});
  f.field("residual_multiplier", c.residual_multiplier,
          "multiplies what attention and feed-forward add to the residual stream (Granite)",
          {.min = 0, .above_min = true});
  f.field("attention_multiplier", c.attention_multiplier,
          "multiplies the products of queries and keys (Granite); 0: 1 / sqrt(head_dim)", {.min = 0});
  f.field("logits_scaling", c.logits_scaling, "divides the logits (Granite)", {.min = 0, .above_min = true});
  f.field("initializer_range", c.initializer_range, "standard deviation of the initial weights",
          {.min = 0, .above_min = true});
  f.field("pad_vocab_size_to", c.pad_vocab_size_to, "vocabulary rows are rounded up to a multiple of this",
          {.min = 1, .max = kMaxWidth});

  const int64_t head_size = c.num_attention_heads > 0 ? c.head_size() : 0;
  f.require(c.head_dim != 0 || divides(c.num_attention_heads, c.hidden_size), "hidden_size",
            fmt::format("{} is not a multiple of num_attention_heads {}; change one of them or set head_dim",
                        c.hidden_size, c.num_attention_heads));
  f.require(head_size % 2 == 0, c.head_dim != 0 ? "head_dim" : "num_attention_heads",
            fmt::format("heads of width {} cannot be rotated in pairs; the width of a head must be even", head_size));
  f.require(c.num_key_value_heads == 0 || divides(c.num_key_value_heads, c.num_attention_heads), "num_key_value_heads",
            fmt::format("{} does not divide num_attention_heads {}", c.num_key_value_heads, c.num_attention_heads));
}

void describe(MoeConfig& c, Fields& f) {
  // A list of counts or widths replaces the single number: giving both would leave one without effect.
  f.field("num_experts_per_layer", c.num_experts_per_layer,
          "routed experts of each layer, 0 for a dense one; empty: num_experts in every MoE layer",
          {.min = 0, .max = kMaxCount});
  const bool is_uniform = c.num_experts_per_layer.empty();
  const char* no_counts = "num_experts_per_layer is empty";
  f.field("num_experts", c.num_experts, "routed experts of every MoE layer; 0: a dense model",
          {.min = 0, .max = kMaxCount, .active = is_uniform, .active_when = no_counts});
  const bool has_pattern = is_uniform && c.num_experts > 0;
  const char* pattern_when = "num_experts is not 0";
  const bool is_moe = c.is_moe();
  const char* moe_when = "there are experts";
  f.field("first_k_dense_replace", c.first_k_dense_replace, "the first k layers are dense",
          {.min = 0, .max = kMaxCount, .active = has_pattern, .active_when = pattern_when});
  f.field("moe_layer_freq", c.moe_layer_freq,
          "layer i (from 0) is MoE when i is a multiple of this and at least first_k_dense_replace",
          {.min = 1, .max = kMaxCount, .active = has_pattern, .active_when = pattern_when});
  f.field("num_experts_per_tok", c.num_experts_per_tok, "experts that each token is sent to",
          {.min = 1, .max = kMaxCount, .active = is_moe, .active_when = moe_when});
  f.field(
      "expert_intermediate_sizes", c.expert_intermediate_sizes,
      "SwiGLU width of each routed expert; experts of equal width share a bank; empty: moe_intermediate_size for all",
      {.min = 1, .max = kMaxWidth, .active = has_pattern, .active_when = "num_experts is not 0"});
  f.field("moe_intermediate_size", c.moe_intermediate_size, "SwiGLU width of every routed expert",
          {.min = 0,
           .max = kMaxWidth,
           .active = is_moe && c.expert_intermediate_sizes.empty(),
           .active_when = "there are experts and expert_intermediate_sizes is empty"});
  f.field("shared_expert_intermediate_size", c.shared_expert_intermediate_size,
          "SwiGLU width of the expert that every token visits; 0: none",
          {.min = 0, .max = kMaxWidth, .active = is_moe, .active_when = moe_when});
  f.field("shared_expert_gate", c.shared_expert_gate,
          "each token weights the shared expert's result by a learned sigmoid (Qwen2-MoE)",
          {.active = is_moe && c.shared_expert_intermediate_size > 0,
           .active_when = "shared_expert_intermediate_size is not 0"});

  const auto num_widths = static_cast<int64_t>(c.expert_intermediate_sizes.size());
  f.require(num_widths == 0 || num_widths == c.num_experts, "expert_intermediate_sizes",
            fmt::format("has {} widths for num_experts {}; give one per expert", num_widths, c.num_experts));
  f.require(!is_moe || num_widths > 0 || c.moe_intermediate_size > 0, "moe_intermediate_size",
            "is missing; experts need a width");
  int64_t fewest = c.num_experts;
  for (const int64_t count : c.num_experts_per_layer) {
    if (count > 0 && (fewest == 0 || count < fewest)) fewest = count;
  }
  f.require(!is_moe || fewest == 0 || c.num_experts_per_tok <= fewest, "num_experts_per_tok",
            is_uniform ? fmt::format("{} is more than num_experts {}", c.num_experts_per_tok, fewest)
                       : fmt::format("{} is more than the {} experts of a layer in num_experts_per_layer",
                                     c.num_experts_per_tok, fewest));
  describe(c.methods, f, is_moe);
}

void require_consistent(const ModelConfig& model, const MoeConfig& moe, Fields& f) {
  const int64_t num_layers = model.num_hidden_layers;
  const auto num_counts = static_cast<int64_t>(moe.num_experts_per_layer.size());
  f.require(num_counts == 0 || num_counts == num_layers, "moe.num_experts_per_layer",
            fmt::format("has {} counts for model.num_hidden_layers {}; give one per layer", num_counts, num_layers));
  if (num_counts != 0 && num_counts != num_layers) return;
  int64_t num_dense = 0;
  for (int64_t layer = 0; layer < num_layers; ++layer) num_dense += moe.num_experts_in_layer(layer) == 0 ? 1 : 0;
  f.require(!moe.is_moe() || num_dense < num_layers,
            num_counts != 0 ? "moe.num_experts_per_layer" : "moe.first_k_dense_replace",
            fmt::format("leaves no MoE layer among the {} layers", num_layers));
  f.require(num_dense == 0 || model.intermediate_size > 0, "model.intermediate_size",
            fmt::format("is missing; {} of the {} layers are dense and need a width", num_dense, num_layers));
  f.require(num_dense > 0 || model.intermediate_size == 0, "model.intermediate_size",
            "has no effect, since every layer is MoE; remove it (routed experts have moe.moe_intermediate_size)");
}

}  // namespace sy
