#include "csrc/nn/attention.h"

#include <cmath>

#include "csrc/core/launch.h"
#include "kernels/attention/cache_append.h"
#include "kernels/attention/causal_attention.h"

namespace sy::nn {

Attention::Attention(ParameterList& parameters, const std::string& prefix, const AttentionPlan& plan) : plan_(plan) {
  const auto& s = plan.shape;
  const InitSpec init{InitKind::kNormal, plan.initializer_range};
  const int64_t q_rows = s.heads * s.head_dim, kv_rows = s.kv_heads * s.head_dim, d = plan.hidden_size;
  qkv_ = &parameters.add(prefix + ".qkv_proj", {s.columns(), d}, init);
  qkv_->parts = {{prefix + ".q_proj.weight", -1, 0, q_rows, {q_rows, d}},
                 {prefix + ".k_proj.weight", -1, q_rows, kv_rows, {kv_rows, d}},
                 {prefix + ".v_proj.weight", -1, q_rows + kv_rows, kv_rows, {kv_rows, d}}};
  out_ = &parameters.add(prefix + ".o_proj.weight", {d, q_rows}, init);
  if (plan.use_qk_norm) {
    q_norm_ = &parameters.add(prefix + ".q_norm.weight", {s.head_dim}, {InitKind::kOnes});
    k_norm_ = &parameters.add(prefix + ".k_norm.weight", {s.head_dim}, {InitKind::kOnes});
  }
}

Var Attention::project(Context& ctx, const Var& x_TD, const Positions& p) const {
  Var qkv = ops::linear(ctx, x_TD, *qkv_);
  if (plan_.use_qk_norm) qkv = ops::head_norm(ctx, qkv, *q_norm_, *k_norm_, plan_.shape, plan_.rms_norm_eps);
  return ops::rope(ctx, qkv, p.position_T, p.inv_freq, plan_.shape, p.rope_scale);
}

Var Attention::forward(Context& ctx, const Var& x_TD, const Positions& p) const {
  const Var qkv = project(ctx, x_TD, p);
  return ops::linear(ctx, ops::causal_attention(ctx, qkv, p.first_key_T, plan_.shape, p.max_span), *out_);
}

Tensor Attention::decode(Context& ctx, const Tensor& x, const Positions& p, const Tensor& past, int64_t batch,
                         const KeyValueCache& cache) const {
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
                                           .scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim))}));
  });
  return ops::linear(ctx, Var(o), *out_).value();
}

}  // namespace sy::nn
