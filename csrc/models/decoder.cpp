#include "csrc/models/decoder.h"

#include <algorithm>
#include <cmath>

#include "csrc/autograd/checkpoint.h"
#include "csrc/models/rope_frequencies.h"
#include "csrc/ops/matmul.h"
#include "parallel/collective_ops.h"

namespace sy {

namespace {

nn::AttentionPlan attention_plan(const ModelConfig& m) {
  return {.hidden_size = m.hidden_size,
          .shape = {.heads = m.num_attention_heads,
                    .kv_heads = m.kv_heads(),
                    .head_dim = m.head_size(),
                    .score_scale = m.attention_multiplier},
          .qkv_bias = m.qkv_bias,
          .use_qk_norm = m.use_qk_norm,
          .norm_all_heads = m.qk_norm_scope == QkNormScope::kAllHeads,
          .rms_norm_eps = m.rms_norm_eps,
          .initializer_range = m.initializer_range,
          .sliding_window = m.sliding_window};
}

moe::MoeLayerPlan layer_plan(const MoeConfig& c, int64_t experts) {
  moe::MoeLayerPlan plan;
  for (int64_t e = 0; e < experts; ++e) plan.expert_intermediate_sizes.push_back(c.expert_intermediate_size(e));
  plan.num_experts_per_tok = c.num_experts_per_tok;
  plan.shared_expert_intermediate_size = c.shared_expert_intermediate_size;
  plan.shared_expert_gate = c.shared_expert_gate;
  return plan;
}

Var scaled(Context& ctx, const Var& x, double factor) { return factor == 1 ? x : ops::scale(ctx, x, factor); }

// What a report about waiting ranks names.
void stand_in_layer(const Context& ctx, int64_t layer) {
  if (ctx.mesh != nullptr) ctx.mesh->place().layer = layer;
}

}  // namespace

Decoder::Decoder(Context& ctx, const ModelConfig& model, const MoeConfig& moe, const DecoderOptions& options)
    : ctx_(ctx), model_(model), moe_(moe), options_(options), parameters_(ctx, options.dtype) {
  const InitSpec normal{InitKind::kNormal, model.initializer_range};
  const int64_t rows = model.padded_vocab_size(), d = model.hidden_size;
  // Padding rows of the vocabulary belong to no part: they start at zero and are never written to files.
  const int64_t own_rows = rows / tp::ranks(ctx), first_row = own_rows * tp::rank(ctx);
  const auto add_vocabulary = [&](const char* name) {
    Parameter& p = parameters_.add(name, {own_rows, d}, normal, Sharing::kTensorSharded);
    const int64_t count = std::clamp<int64_t>(model.vocab_size - first_row, 0, own_rows);
    p.parts.clear();
    if (count > 0) p.parts = {{p.name, {model.vocab_size, d}, {{first_row, 0}, {count, d}}, 0}};
    return &p;
  };
  embedding_ = add_vocabulary("model.embed_tokens.weight");
  const auto add_norm = [&](const std::string& name) {
    return &parameters_.add(name, {d}, {InitKind::kOnes}, between_sharing(ctx));
  };
  for (int64_t layer = 0; layer < model.num_hidden_layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}", layer);
    Block block;
    block.first_parameter = static_cast<int64_t>(parameters_.all().size());
    block.input_norm = add_norm(prefix + ".input_layernorm.weight");
    block.attention = std::make_unique<nn::Attention>(parameters_, prefix + ".self_attn", attention_plan(model));
    block.post_norm = add_norm(prefix + ".post_attention_layernorm.weight");
    const int64_t experts = moe.num_experts_in_layer(layer);
    if (experts == 0)
      block.mlp = std::make_unique<nn::SwigluMlp>(parameters_, prefix + ".mlp", d, model.intermediate_size,
                                                  model.initializer_range);
    else
      block.moe = std::make_unique<moe::MoeLayer>(moe.methods, layer_plan(moe, experts),
                                                  moe::LayerBuild{.parameters = &parameters_,
                                                                  .prefix = prefix + ".mlp",
                                                                  .layer = layer,
                                                                  .hidden_size = d,
                                                                  .vocab_size = model.vocab_size,
                                                                  .initializer_range = model.initializer_range,
                                                                  .seed = options.seed});
    block.last_parameter = static_cast<int64_t>(parameters_.all().size());
    blocks_.push_back(std::move(block));
  }
  final_norm_ = add_norm("model.norm.weight");
  head_ = model.tie_word_embeddings ? embedding_ : add_vocabulary("lm_head.weight");
  const auto frequencies = rope_frequencies(model.head_size(), model.rope_theta, model.rope_scaling);
  inv_freq_ = ctx.from_host<double>(frequencies, {static_cast<int64_t>(frequencies.size())}, MemoryKind::parameters);
}

Var Decoder::embed(const Tensor& token_T) {
  return scaled(ctx_, tp::leave(ctx_, ops::embedding(ctx_, token_T, *embedding_)), model_.embedding_multiplier);
}

Var Decoder::add_part(Context& ctx, const Var& h, const Var& part) const {
  return ops::add(ctx, h, scaled(ctx, part, model_.residual_multiplier));
}

Var Decoder::head_input(const Var& normed) { return scaled(ctx_, normed, 1 / model_.logits_scaling); }

Var Decoder::feed_forward(Context& ctx, Block& block, int64_t layer, const Var& h, const Batch& batch, LossSink& sink) {
  const Var x = ops::rms_norm(ctx, h, *block.post_norm, model_.rms_norm_eps);
  if (block.mlp) return block.mlp->forward(ctx, x);
  const moe::RouterInput input{.x_TD = x,
                               .token_id_T = batch.token_T,
                               .sample_id_B = batch.sample_id_B,
                               .sequences = batch.sequences,
                               .seq_length = batch.seq_length,
                               .layer = layer,
                               .limit_capacity = batch.limit_capacity};
  return block.moe->forward(ctx, input, sink);
}

Var Decoder::block_forward(Context& ctx, Block& block, int64_t layer, const Var& h, const Batch& batch,
                           const nn::Positions& positions, LossSink& sink, const Observer& see) {
  parameters_.await(block.first_parameter, block.last_parameter);
  stand_in_layer(ctx, layer);
  const Var x = ops::rms_norm(ctx, h, *block.input_norm, model_.rms_norm_eps);
  const Var after_attention = add_part(ctx, h, block.attention->forward(ctx, x, positions));
  if (see) see(fmt::format("model.layers.{}.self_attn", layer), after_attention);
  const Var y = add_part(ctx, after_attention, feed_forward(ctx, block, layer, after_attention, batch, sink));
  if (see) see(fmt::format("model.layers.{}.mlp", layer), y);
  // Backward comes here first.
  if (needs_record(ctx, {&y})) ctx.tape->record([&ctx, layer] { stand_in_layer(ctx, layer); });
  return y;
}

Var Decoder::hidden_states(const Batch& batch, LossSink& sink, const Observer& see) {
  const int64_t window = model_.sliding_window;
  const nn::Positions positions{
      .position_T = batch.position_T,
      .first_key_T = window > 0 ? ops::window_keys(ctx_, batch.first_key_T, window) : batch.first_key_T,
      .inv_freq = inv_freq_,
      .rope_scale = 1.0,
      .max_span = static_cast<int64_t>(std::ceil(2 * model_.mean_keys(batch.seq_length) - 1))};
  parameters_.await(0, 1);
  Var h = embed(batch.token_T);
  if (see) see("model.embed_tokens", h);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    Block& block = blocks_[i];
    const auto run = [this, &block, layer = static_cast<int64_t>(i), batch, positions, &sink, see](Context& ctx,
                                                                                                   const Var& x) {
      return block_forward(ctx, block, layer, x, batch, positions, sink, see);
    };
    h = options_.recompute ? checkpoint(ctx_, h, run) : run(ctx_, h);
  }
  stand_in_layer(ctx_, -1);
  parameters_.await(blocks_.back().last_parameter, static_cast<int64_t>(parameters_.all().size()));
  h = ops::rms_norm(ctx_, h, *final_norm_, model_.rms_norm_eps);
  if (see) see("model.norm", h);
  return h;
}

void Decoder::observe(const Batch& batch, const Observer& see) {
  SY_CHECK(ctx_.tape == nullptr, "observing runs without a tape");
  LossSink unused(ctx_);
  hidden_states(batch, unused, see);
}

void Decoder::forward_loss(const Batch& batch, LossSink& sink, const Tensor& token_loss, const Observer& see) {
  const Var h = tp::enter(ctx_, head_input(hidden_states(batch, sink, see)));
  ops::fused_cross_entropy(ctx_, h, *head_, batch.target_T, model_.vocab_size, sink.slot("lm_loss"), token_loss);
}

Tensor Decoder::head(const Tensor& h) {
  SY_CHECK(tp::ranks(ctx_) == 1, "whole logits exist on one tensor-parallel rank only");
  Tensor logits = ctx_.empty({h.dim(0), head_->value.dim(0)}, accumulation_dtype(h.dtype()));
  ops::matmul(ctx_, h, head_->value, logits, {.transpose_b = true});
  return logits;
}

Tensor Decoder::logits(const Batch& batch) {
  LossSink unused(ctx_);
  Batch unlimited = batch;
  unlimited.limit_capacity = false;
  return head(head_input(hidden_states(unlimited, unused)).value());
}

DecodeCache Decoder::make_cache(int64_t batch, int64_t capacity) {
  DecodeCache cache{.layers = {}, .batch = batch, .capacity = capacity};
  const int64_t columns = model_.kv_heads() * model_.head_size();
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    cache.layers.push_back({ctx_.empty({batch, capacity, columns}, options_.dtype),
                            ctx_.empty({batch, capacity, columns}, options_.dtype), capacity});
  return cache;
}

Tensor Decoder::decode(const std::vector<int32_t>& tokens, const std::vector<int32_t>& past, DecodeCache& cache,
                       int64_t first_row) {
  const auto rows = static_cast<int64_t>(past.size()), fed = static_cast<int64_t>(tokens.size());
  SY_CHECK(rows > 0 && fed % rows == 0 && first_row + rows <= cache.batch, "{} tokens for {} rows at row {} of {}", fed,
           rows, first_row, cache.batch);
  const int64_t count = fed / rows;
  std::vector<int32_t> position(tokens.size());
  for (int64_t r = 0; r < rows; ++r) {
    SY_CHECK(past[static_cast<std::size_t>(r)] + count <= cache.capacity, "the cache holds {} tokens", cache.capacity);
    for (int64_t i = 0; i < count; ++i)
      position[static_cast<std::size_t>(r * count + i)] = past[static_cast<std::size_t>(r)] + static_cast<int32_t>(i);
  }
  const std::vector<int64_t> sample(static_cast<std::size_t>(rows), 0);
  Batch batch;
  batch.token_T = ctx_.from_host<int32_t>(tokens, {fed}, MemoryKind::data);
  batch.position_T = ctx_.from_host<int32_t>(position, {fed}, MemoryKind::data);
  batch.sample_id_B = ctx_.from_host<int64_t>(sample, {rows}, MemoryKind::data);
  batch.sequences = rows;
  batch.seq_length = count;
  batch.limit_capacity = false;
  const Tensor past_tensor = ctx_.from_host<int32_t>(past, {rows}, MemoryKind::data);
  const nn::Positions positions{.position_T = batch.position_T, .first_key_T = {}, .inv_freq = inv_freq_};

  LossSink unused(ctx_);
  parameters_.await(0, static_cast<int64_t>(parameters_.all().size()));
  Var h = embed(batch.token_T);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    Block& block = blocks_[i];
    const nn::KeyValueCache rows_cache{cache.layers[i].k.slice(first_row, first_row + rows),
                                       cache.layers[i].v.slice(first_row, first_row + rows), cache.capacity};
    const Var x = ops::rms_norm(ctx_, h, *block.input_norm, model_.rms_norm_eps);
    h = add_part(ctx_, h, Var(block.attention->decode(ctx_, x.value(), positions, past_tensor, rows, rows_cache)));
    h = add_part(ctx_, h, feed_forward(ctx_, block, static_cast<int64_t>(i), h, batch, unused));
  }
  return head(head_input(ops::rms_norm(ctx_, h, *final_norm_, model_.rms_norm_eps)).value());
}

std::vector<Decoder::MoeBlock> Decoder::moe_layers() {
  std::vector<MoeBlock> layers;
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    if (blocks_[i].moe) layers.push_back({static_cast<int64_t>(i), blocks_[i].moe.get()});
  return layers;
}

std::vector<moe::StateTensor> Decoder::state() {
  std::vector<moe::StateTensor> all;
  for (const MoeBlock& block : moe_layers())
    for (moe::StateTensor& s : block.moe->state()) all.push_back(std::move(s));
  return all;
}

void Decoder::reset_routing_stats() {
  for (const MoeBlock& block : moe_layers()) block.moe->reset_stats(ctx_);
}

int64_t Decoder::total_parameters() const {
  int64_t total = 0;
  for (const Parameter& p : parameters_.all())
    for (const ParameterPart& part : p.parts) total += shape_count(part.shape);
  return total;
}

int64_t Decoder::active_parameters() const {
  int64_t active = total_parameters();
  for (const Parameter& p : parameters_.all())
    if (p.sharing == Sharing::kExpert) active -= p.value.count();
  double routed = 0;
  for (const Block& block : blocks_)
    if (block.moe) routed += block.moe->routed_macs_per_token();
  return active + static_cast<int64_t>(routed + 0.5);
}

double Decoder::training_flops_per_token(int64_t seq_length) const {
  const auto plan = attention_plan(model_);
  const double d = static_cast<double>(model_.hidden_size);
  const double q_width = static_cast<double>(plan.shape.heads * plan.shape.head_dim);
  const double projections = d * (static_cast<double>(plan.shape.columns()) + q_width);
  const double scores = q_width * 2 * model_.mean_keys(seq_length);  // QK^T and PV
  double macs = d * static_cast<double>(model_.vocab_size);
  for (const Block& block : blocks_)
    macs += projections + scores +
            (block.moe ? block.moe->macs_per_token() : 3.0 * d * static_cast<double>(model_.intermediate_size));
  return 6.0 * macs;
}

}  // namespace sy
