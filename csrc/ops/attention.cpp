// Rotary embedding and causal attention on a fused qkv buffer.
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "kernels/attention/causal_attention.h"
#include "kernels/attention/window_keys.h"
#include "kernels/dense/rope.h"

namespace sy::ops {

namespace {

void rotate(Context& ctx, const Tensor& x, const Tensor& position, const Tensor& inv_freq, const AttentionShape& s,
            double scale, bool inverse) {
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, rope,
              (kernels::Rope<T>{.x = x.data<T>(),
                                .position = position.data<int32_t>(),
                                .inv_freq = inv_freq.data<double>(),
                                .tokens = x.dim(0),
                                .heads = s.heads + s.kv_heads,
                                .head_dim = s.head_dim,
                                .ld = x.dim(1),
                                .scale = scale,
                                .inverse = inverse}));
  });
}

}  // namespace

Var rope(Context& ctx, const Var& qkv, const Tensor& position, const Tensor& inv_freq, const AttentionShape& s,
         double scale) {
  SY_CHECK(qkv.dim(1) == s.columns() && position.count() == qkv.dim(0) && inv_freq.count() == s.head_dim / 2,
           "rope: qkv {}, {} positions, {} frequencies", shape_string(qkv.shape()), position.count(), inv_freq.count());
  // In place: neither the projection before nor the norm before reads its own output in backward.
  rotate(ctx, qkv.value(), position, inv_freq, s, scale, false);
  const bool record = needs_record(ctx, {&qkv});
  Var out(qkv.value(), record);
  if (record)
    ctx.tape->record([&ctx, qkv, out, position, inv_freq, s, scale]() {
      Tensor dy = out.take_grad();
      if (!dy.defined()) return;
      if (!dy.unique()) {  // another value holds the same gradient (an add before this op's backward)
        const Tensor copy = ctx.empty(dy.shape(), dy.dtype());
        ctx.copy(copy, dy);
        dy = copy;
      }
      rotate(ctx, dy, position, inv_freq, s, scale, true);
      qkv.add_grad(ctx, std::move(dy));
    });
  return out;
}

Tensor window_keys(Context& ctx, const Tensor& first_key, int64_t window) {
  const Tensor windowed = ctx.empty(first_key.shape(), DType::i32);
  SY_LAUNCH(ctx, window_keys,
            (kernels::WindowKeys{.first_key = first_key.data<int32_t>(),
                                 .windowed = windowed.data<int32_t>(),
                                 .tokens = first_key.count(),
                                 .window = window}));
  return windowed;
}

Var causal_attention(Context& ctx, const Var& qkv, const Tensor& first_key, const AttentionShape& s, int64_t max_span) {
  SY_CHECK(qkv.dim(1) == s.columns() && first_key.count() == qkv.dim(0),
           "attention: qkv {} for {} + 2 x {} heads of {}", shape_string(qkv.shape()), s.heads, s.kv_heads, s.head_dim);
  const int64_t tokens = qkv.dim(0), ld = qkv.dim(1);
  const double scale = s.scale();
  Tensor o = ctx.empty({tokens, s.heads * s.head_dim}, qkv.dtype());
  const Tensor lse = ctx.empty({tokens, s.heads}, accumulation_dtype(qkv.dtype()));
  dispatch_float(qkv.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, causal_attention_forward,
              (kernels::CausalAttentionForward<T>{.qkv = qkv.value().data<T>(),
                                                  .first_key = first_key.data<int32_t>(),
                                                  .o = o.data<T>(),
                                                  .lse = lse.data<Acc<T>>(),
                                                  .tokens = tokens,
                                                  .heads = s.heads,
                                                  .kv_heads = s.kv_heads,
                                                  .head_dim = s.head_dim,
                                                  .ld = ld,
                                                  .max_span = max_span,
                                                  .scale = scale}));
  });
  const bool record = needs_record(ctx, {&qkv});
  Var out(std::move(o), record);
  if (record)
    ctx.tape->record([&ctx, qkv, out, lse, first_key, s, tokens, ld, max_span, scale]() {
      const Tensor grad_o = out.take_grad();
      if (!grad_o.defined()) return;
      Tensor dqkv = ctx.empty(qkv.shape(), qkv.dtype());
      dispatch_float(qkv.dtype(), [&]<class T>() {
        SY_LAUNCH(ctx, causal_attention_backward,
                  (kernels::CausalAttentionBackward<T>{.grad_o = grad_o.data<T>(),
                                                       .qkv = qkv.value().data<T>(),
                                                       .o = out.value().data<T>(),
                                                       .lse = lse.data<Acc<T>>(),
                                                       .first_key = first_key.data<int32_t>(),
                                                       .dqkv = dqkv.data<T>(),
                                                       .tokens = tokens,
                                                       .heads = s.heads,
                                                       .kv_heads = s.kv_heads,
                                                       .head_dim = s.head_dim,
                                                       .ld = ld,
                                                       .max_span = max_span,
                                                       .scale = scale}));
      });
      qkv.add_grad(ctx, std::move(dqkv));
    });
  return out;
}

}  // namespace sy::ops
