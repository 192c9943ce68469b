#include "csrc/nn/attention.h"

#include <algorithm>

#include "csrc/core/launch.h"
#include "kernels/attention/cache_append.h"
#include "kernels/attention/causal_attention.h"
#include "parallel/collective_ops.h"

namespace sy::nn {

Attention::Attention(ParameterList& parameters, const std::string& prefix, const AttentionPlan& plan)
    : plan_(plan), local_(plan.shape) {
  add_projections(parameters, prefix);
  const auto& s = plan.shape;
  if (plan.use_qk_norm) {
    SY_CHECK(!plan.norm_all_heads || tp::ranks(parameters.context()) == 1, "a norm over the heads of several ranks");
    const int64_t q_heads = plan.norm_all_heads ? s.heads : 1, k_heads = plan.norm_all_heads ? s.kv_heads : 1;
    q_norm_ = &parameters.add(prefix + ".q_norm.weight", {q_heads * s.head_dim}, {InitKind::kOnes});
    k_norm_ = &parameters.add(prefix + ".k_norm.weight", {k_heads * s.head_dim}, {InitKind::kOnes});
  }
}

void Attention::add_projections(ParameterList& parameters, const std::string& prefix) {
  const Context& ctx = parameters.context();
  const int64_t ranks = tp::ranks(ctx), rank = tp::rank(ctx), d = plan_.hidden_size, dim = plan_.shape.head_dim;
  const int64_t copies = std::max<int64_t>(1, ranks / plan_.shape.kv_heads);  // ranks that hold one key-value head
  local_.heads = plan_.shape.heads / ranks;
  local_.kv_heads = plan_.shape.kv_heads * copies / ranks;
  const int64_t q_rows = local_.heads * dim, kv_rows = local_.kv_heads * dim;
  const int64_t all_q = plan_.shape.heads * dim, all_kv = plan_.shape.kv_heads * dim;
  const InitSpec init{InitKind::kNormal, plan_.initializer_range};

  // Rows of `width` elements, or the single elements of a vector (0).
  const auto add_heads = [&](const std::string& kind, const std::string& fused, int64_t width, const InitSpec& start) {
    const auto shape = [&](int64_t rows) { return width == 0 ? Shape{rows} : Shape{rows, width}; };
    const auto part = [&](const char* which, int64_t all, int64_t first, int64_t rows, int64_t row) {
      const Box box{width == 0 ? Shape{first} : Shape{first, 0}, shape(rows)};
      return ParameterPart{fmt::format("{}.{}_proj.{}", prefix, which, kind), shape(all), box,
                           row * std::max<int64_t>(width, 1)};
    };
    const ParameterPart q = part("q", all_q, rank * q_rows, q_rows, 0);
    const auto kv_parts = [&](int64_t row) {
      const int64_t first = rank / copies * kv_rows;
      return std::pair{part("k", all_kv, first, kv_rows, row), part("v", all_kv, first, kv_rows, row + kv_rows)};
    };
    Heads heads;
    if (copies == 1) {
      heads.qkv = &parameters.add(prefix + ".qkv" + fused, shape(local_.columns()), start, Sharing::kTensorSharded);
      const auto [k, v] = kv_parts(q_rows);
      heads.qkv->parts = {q, k, v};
    } else {
      heads.qkv = &parameters.add(q.name, shape(q_rows), start, Sharing::kTensorSharded);
      heads.qkv->parts = {q};
      heads.kv = &parameters.add(prefix + ".kv" + fused, shape(2 * kv_rows), start, Sharing::kKeyValue);
      const auto [k, v] = kv_parts(0);
      heads.kv->parts = {k, v};
    }
    return heads;
  };
  weight_ = add_heads("weight", "_proj", d, init);
  if (plan_.qkv_bias) bias_ = add_heads("bias", "_bias", 0, {InitKind::kZeros});
  out_ = &parameters.add(prefix + ".o_proj.weight", {d, q_rows}, init, Sharing::kTensorSharded);
  out_->parts = {{out_->name, {d, all_q}, {{0, rank * q_rows}, {d, q_rows}}, 0}};
}

Var Attention::project(Context& ctx, const Var& x_TD, const Positions& p) const {
  const auto product = [&](Parameter* weight, Parameter* bias) {
    const Var y = ops::linear(ctx, x_TD, *weight);
    return bias == nullptr ? y : ops::add_bias(ctx, y, *bias);
  };
  Var qkv = product(weight_.qkv, bias_.qkv);
  if (weight_.kv != nullptr) qkv = ops::concat_columns(ctx, qkv, product(weight_.kv, bias_.kv));
  if (plan_.use_qk_norm) qkv = ops::head_norm(ctx, qkv, *q_norm_, *k_norm_, local_, plan_.rms_norm_eps);
  return ops::rope(ctx, qkv, p.position_T, p.inv_freq, local_, p.rope_scale);
}

Var Attention::forward(Context& ctx, const Var& x_TD, const Positions& p) const {
  const Var qkv = project(ctx, tp::enter(ctx, x_TD), p);
  const Var heads = ops::causal_attention(ctx, qkv, p.first_key_T, local_, p.max_span);
  return tp::leave(ctx, ops::linear(ctx, heads, *out_));
}

Tensor Attention::decode(Context& ctx, const Tensor& x, const Positions& p, const Tensor& past, int64_t batch,
                         const KeyValueCache& cache) const {
  SY_CHECK(tp::ranks(ctx) == 1, "generation runs on one rank");
  const auto& s = plan_.shape;
  const Tensor qkv = project(ctx, Var(x), p).value();
  const int64_t count = x.dim(0) / batch;
  const Tensor q = ctx.empty({x.dim(0), s.heads * s.head_dim}, x.dtype());
  const Tensor o = ctx.empty(q.shape(), x.dtype());
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, cache_append,
              (kernels::CacheAppend<T>{.qkv = qkv.data<T>(),
                                       .past = past.data<int32_t>(),
                                       .q = q.data<T>(),
                                       .k_cache = cache.k.data<T>(),
                                       .v_cache = cache.v.data<T>(),
                                       .batch = batch,
                                       .count = count,
                                       .capacity = cache.capacity,
                                       .heads = s.heads,
                                       .kv_heads = s.kv_heads,
                                       .head_dim = s.head_dim,
                                       .ld = qkv.dim(1)}));
    SY_LAUNCH(ctx, cached_attention,
              (kernels::CachedAttention<T>{.q = q.data<T>(),
                                           .k = cache.k.data<T>(),
                                           .v = cache.v.data<T>(),
                                           .past = past.data<int32_t>(),
                                           .o = o.data<T>(),
                                           .batch = batch,
                                           .query_count = count,
                                           .capacity = cache.capacity,
                                           .heads = s.heads,
                                           .kv_heads = s.kv_heads,
                                           .head_dim = s.head_dim,
                                           .scale = s.scale(),
                                           .window = plan_.sliding_window}));
  });
  return ops::linear(ctx, Var(o), *out_).value();
}

}  // namespace sy::nn
