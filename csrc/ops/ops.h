// The differentiable ops, one .cpp each: shape checks, kernel launches, backward closure.
//
// Shapes: T tokens, D model width, E experts, N entries of the assignment list, R rows of the expert buffers, V padded
// vocabulary. Values are in the training type unless said; `A` marks the accumulation type (f32, or f64 for f64).
// Every op records on ctx.tape when one is there; without a tape nothing is kept.
#pragma once

#include <cmath>

#include "csrc/autograd/tape.h"
#include "csrc/nn/parameter.h"
#include "csrc/ops/loss_sink.h"
#include "kernels/moe/capacity.h"
#include "kernels/moe/gate_weight.h"
#include "kernels/moe/router_scores.h"

namespace sy::ops {

// y = x W^T:  x [rows, in], weight [out, in] of x's type -> [rows, out].
Var linear(Context& ctx, const Var& x, Parameter& weight);
// x + bias in every row, in place (the result shares storage with x, which must not be read again): bias [columns].
Var add_bias(Context& ctx, const Var& x, Parameter& bias);
// The same values in another floating type.
Var cast(Context& ctx, const Var& x, DType dtype);
// a + b of equal shapes.
Var add(Context& ctx, const Var& a, const Var& b);
// factor x.
Var scale(Context& ctx, const Var& x, double factor);
// The same elements in the same order under another shape; shares storage.
Var reshape(Context& ctx, const Var& x, Shape shape);
// Rows [begin, end), sharing storage; and such pieces one below the other.
Var slice_rows(Context& ctx, const Var& x, int64_t begin, int64_t end);
Var concat_rows(Context& ctx, const std::vector<Var>& pieces);
// [rows, A] and [rows, B] side by side -> [rows, A + B].
Var concat_columns(Context& ctx, const Var& a, const Var& b);
// RMS norm over the last dimension: x [rows, D], weight [D].
Var rms_norm(Context& ctx, const Var& x, Parameter& weight, double epsilon);
// Rows of a table: id [T] i32 -> [T, D]; table [V, D]. A tensor-parallel rank holds its share of the rows and gives
// zero rows for the other ids: the sum over ranks is the result.
Var embedding(Context& ctx, const Tensor& id, Parameter& table);
// silu(gate) * up: h [R, 2F] -> [R, F]; row_end [1] i32 or undefined: rows behind it are not touched.
Var swiglu(Context& ctx, const Var& h, const Tensor& row_end = {});
// sigmoid(gate[r]) x[r, :]:  x [rows, D], gate [rows, 1].
Var sigmoid_gate(Context& ctx, const Var& x, const Var& gate);

// Attention on a fused qkv buffer [T, (heads + 2 kv_heads) head_dim].
struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  double score_scale = 0;  // of the products of queries and keys; 0: 1 / sqrt(head_dim)
  double scale() const { return score_scale != 0 ? score_scale : 1 / std::sqrt(static_cast<double>(head_dim)); }
  int64_t columns() const { return (heads + 2 * kv_heads) * head_dim; }
};
// RMS norm of every q head with q_weight [head_dim] and of every k head with k_weight, or of all heads of a token
// together where the weights have heads*head_dim and kv_heads*head_dim elements; v is copied.
Var head_norm(Context& ctx, const Var& qkv, Parameter& q_weight, Parameter& k_weight, const AttentionShape& shape,
              double epsilon);
// Rotates q and k in place (the result shares storage with qkv, which must not be read again): position [T] i32,
// inv_freq [head_dim/2] f64; scale multiplies the rotated values (long-context scaling).
Var rope(Context& ctx, const Var& qkv, const Tensor& position, const Tensor& inv_freq, const AttentionShape& shape,
         double scale);
// The first keys [T] i32 of windows of `window` tokens (kernels/attention/window_keys.h). Not differentiable.
Tensor window_keys(Context& ctx, const Tensor& first_key, int64_t window);
// Softmax attention with first_key [T] i32 (kernels/attention/causal_attention.h) -> [T, heads*head_dim].
Var causal_attention(Context& ctx, const Var& qkv, const Tensor& first_key, const AttentionShape& shape,
                     int64_t max_span);

// Index tables of a routing; kernels/moe/index_build.h has their meaning.
struct RowIndex {
  Tensor seg_start, seg_count;      // [slots] i32
  Tensor row_end;                   // [1] i32
  Tensor row_entry, row_token;      // [R] i32
  Tensor entry_row;                 // [N] i32
  Tensor token_start, token_entry;  // [T+1], [N] i32
  int64_t rows = 0, entries = 0, tokens = 0, slots = 0;
};
// token, expert [N] i32, kept [N] u8 or undefined, slot_of_expert [E] i32 or undefined. Segments start at multiples of
// row_alignment (0: the context's). Not differentiable.
RowIndex index_build(Context& ctx, const Tensor& token, const Tensor& expert, const Tensor& kept,
                     const Tensor& slot_of_expert, int64_t tokens, int64_t experts, int64_t slots,
                     int64_t row_alignment = 0);
// x [T, D] -> expert rows [R, D]; weight [N] A, or an undefined Var for 1 (weights on the expert input).
Var gather_rows(Context& ctx, const Var& x, const RowIndex& index, const Var& weight = {});
// y [R, D], weight [N] A or undefined -> [T, D]; identity [T, D] or undefined: what dropped entries contribute.
Var combine(Context& ctx, const Var& y, const Var& weight, const Var& identity, const RowIndex& index);
// Per-expert products: x [R, in], bank [slots_b, out, in] -> [R, out] for segments [first_slot, first_slot + slots_b).
Var grouped_linear(Context& ctx, const Var& x, Parameter& bank, const RowIndex& index, int64_t first_slot);

// Router logits [T, E] A -> scores [T, E] A.
Var router_scores(Context& ctx, const Var& logits, kernels::ScoreLink link);
// Scores [T, E] A read at an assignment list -> weights [N] A.
struct GateWeightOptions {
  kernels::GateWeightMode mode = kernels::GateWeightMode::kRaw;
  int64_t per_token = 1;
  double scale = 1.0;
};
Var gate_weight(Context& ctx, const Var& score, const Tensor& token, const Tensor& expert, const Tensor& active,
                const GateWeightOptions& options);

// Losses: value added to `slot` ([1] f64; undefined: gradient only), gradient added to the argument in backward.
// kernels/moe/balance.h has the formulas.
void load_balance_loss(Context& ctx, const Var& probability, const Tensor& fraction, int64_t group_tokens,
                       double coefficient, const Tensor& slot);
void z_loss(Context& ctx, const Var& logits, double coefficient, const Tensor& slot);
void entropy_loss(Context& ctx, const Var& probability, double coefficient, const Tensor& slot);
// Squared coefficient of variation of the experts' importance (summed weights).
void importance_loss(Context& ctx, const Var& weight, const Tensor& expert, int64_t tokens, int64_t experts,
                     double coefficient, const Tensor& slot);
// Squared coefficient of variation of a vector [count] A.
void squared_cv_loss(Context& ctx, const Var& values, int64_t tokens, double coefficient, const Tensor& slot);

// Language-model head and loss in chunks of tokens: never more than a chunk of logits exists.
// x [T, D], weight [V, D] (a tensor-parallel rank's share of the rows), target [T] i32 (negative: ignored), vocab the
// unpadded size. dx is the rank's part of a sum over tensor-parallel ranks. Adds the loss, equal on these, in nats
// times state->inv_loss_tokens, to `slot`. With `token_loss` [T] A defined, each token's own loss is also written
// there.
void fused_cross_entropy(Context& ctx, const Var& x, Parameter& weight, const Tensor& target, int64_t vocab,
                         const Tensor& slot, const Tensor& token_loss = {});

}  // namespace sy::ops
