// The decoder: embedding, pre-norm blocks (attention, then MoE or dense mlp), final norm, vocabulary head.
//
//   h = embed(tokens);  per block  h += attention(norm(h));  h += mlp(norm(h));   logits = norm(h) W_head^T
// each term times a constant of the model, for most models 1.
// Parameter names are Hugging Face's ("model.layers.3.self_attn.q_proj.weight", ...); fused weights list their parts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "csrc/models/model_config.h"
#include "csrc/moe/layer.h"
#include "csrc/nn/attention.h"
#include "csrc/nn/mlp.h"

namespace sy {

// One micro-batch: `sequences` sequences of `seq_length` tokens, flattened to T.
struct Batch {
  Tensor token_T, target_T;        // i32; target < 0: ignored
  Tensor position_T, first_key_T;  // i32 (csrc/nn/attention.h)
  Tensor sample_id_B;              // i64
  int64_t sequences = 0, seq_length = 0;
  bool limit_capacity = true;  // false: experts take every token that chooses them
};

struct DecoderOptions {
  DType dtype = DType::f32;
  uint64_t seed = 1234;
  bool recompute = false;  // keep only each block's input for backward
};

// The key-value caches of a generation: `batch` rows of up to `capacity` tokens.
struct DecodeCache {
  std::vector<nn::KeyValueCache> layers;
  int64_t batch = 0, capacity = 0;
};

class Decoder {
 public:
  // Builds the parameters, of which a rank of ctx's mesh holds its share; parameters().initialise() or a file sets
  // their values.
  Decoder(Context& ctx, const ModelConfig& model, const MoeConfig& moe, const DecoderOptions& options);

  // Shown the residual stream after each part, named like its parameters: "model.embed_tokens",
  // "model.layers.0.self_attn", "model.layers.0.mlp", ..., "model.norm".
  using Observer = std::function<void(const std::string& part, const Var& h_TD)>;
  // Adds the batch's losses to `sink` and, with a tape, records everything for backward. token_loss [T] (accumulation
  // type, optional) receives each token's own loss.
  void forward_loss(const Batch& batch, LossSink& sink, const Tensor& token_loss = {}, const Observer& see = {});
  // Runs the blocks alone, without recording.
  void observe(const Batch& batch, const Observer& see);
  // Logits [T, padded vocabulary] in the accumulation type; no loss, and as in decode() no limit on the experts'
  // capacity, so that a text's logits depend on the text alone.
  Tensor logits(const Batch& batch);

  DecodeCache make_cache(int64_t batch, int64_t capacity);
  // Feeds tokens [rows*count] i32 (row-major) at positions past[row] ... into cache rows [first_row, first_row + rows);
  // returns the logits [rows*count, padded vocabulary] of every fed token, in the accumulation type.
  Tensor decode(const std::vector<int32_t>& tokens, const std::vector<int32_t>& past, DecodeCache& cache,
                int64_t first_row = 0);

  ParameterList& parameters() { return parameters_; }
  const ModelConfig& config() const { return model_; }
  const MoeConfig& moe_config() const { return moe_; }
  const DecoderOptions& options() const { return options_; }
  // The MoE layers in order, with the index of their block.
  struct MoeBlock {
    int64_t layer;
    moe::MoeLayer* moe;
  };
  std::vector<MoeBlock> moe_layers();
  std::vector<moe::StateTensor> state();
  void reset_routing_stats();

  // Of a model on one rank.
  int64_t total_parameters() const;   // without vocabulary padding
  int64_t active_parameters() const;  // of one token
  // Training FLOPs per token (forward and backward, recomputation not counted): 6 per multiply-add of every matrix
  // product, causal attention counted as the half it computes.
  double training_flops_per_token(int64_t seq_length) const;

 private:
  struct Block {
    int64_t first_parameter, last_parameter;  // in registration order
    Parameter* input_norm;
    Parameter* post_norm;
    std::unique_ptr<nn::Attention> attention;
    std::unique_ptr<nn::SwigluMlp> mlp;  // one of the two
    std::unique_ptr<moe::MoeLayer> moe;
  };

  Var hidden_states(const Batch& batch, LossSink& sink, const Observer& see = {});
  Var block_forward(Context& ctx, Block& block, int64_t layer, const Var& h, const Batch& batch,
                    const nn::Positions& positions, LossSink& sink, const Observer& see);
  Var embed(const Tensor& token_T);
  // h + residual_multiplier part.
  Var add_part(Context& ctx, const Var& h, const Var& part) const;
  // What the head multiplies, for normed hidden states.
  Var head_input(const Var& normed);
  Var feed_forward(Context& ctx, Block& block, int64_t layer, const Var& h, const Batch& batch, LossSink& sink);
  Tensor head(const Tensor& h);

  Context& ctx_;
  ModelConfig model_;
  MoeConfig moe_;
  DecoderOptions options_;
  ParameterList parameters_;
  Parameter* embedding_;
  Parameter* final_norm_;
  Parameter* head_;  // the embedding when tied
  std::vector<Block> blocks_;
  Tensor inv_freq_;
};

}  // namespace sy
