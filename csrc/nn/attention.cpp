#include "csrc/nn/attention.h"

#include <algorithm>
#include <cmath>

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
  const Box q_box{{rank * q_rows, 0}, {q_rows, d}}, kv_box{{rank / copies * kv_rows, 0}, {kv_rows, d}};
  const InitSpec init{InitKind::kNormal, plan_.initializer_range};

  const ParameterPart q{prefix + ".q_proj.weight", {all_q, d}, q_box, 0};
  ParameterPart k{prefix + ".k_proj.weight", {all_kv, d}, kv_box, q_rows * d};
  ParameterPart v{prefix + ".v_proj.weight", {all_kv, d}, kv_box, (q_rows + kv_rows) * d};
  if (copies == 1) {
    qkv_ = &parameters.add(prefix + ".qkv_proj", {local_.columns(), d}, init, Sharing::kTensorSharded);
    qkv_->parts = {q, k, v};
  } else {
    qkv_ = &parameters.add(prefix + ".q_proj.weight", {q_rows, d}, init, Sharing::kTensorSharded);
    qkv_->parts = {q};
    kv_ = &parameters.add(prefix + ".kv_proj", {2 * kv_rows, d}, init, Sharing::kKeyValue);
    k.offset = 0;
    v.offset = kv_rows * d;
    kv_->parts = {k, v};
  }
  out_ = &parameters.add(prefix + ".o_proj.weight", {d, q_rows}, init, Sharing::kTensorSharded);
  out_->parts = {{out_->name, {d, all_q}, {{0, rank * q_rows}, {d, q_rows}}, 0}};
}

Var Attention::project(Context& ctx, const Var& x_TD, const Positions& p) const {
  Var qkv = ops::linear(ctx, x_TD, *qkv_);
  if (kv_ != nullptr) qkv = ops::concat_columns(ctx, qkv, ops::linear(ctx, x_TD, *kv_));
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
                                           .scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim)),
                                           .window = plan_.sliding_window}));
  });
  return ops::linear(ctx, Var(o), *out_).value();
}

}  // namespace sy::nn
