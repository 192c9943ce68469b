// A rank or an expert without tokens: every op takes zero rows, gives empty values, and adds nothing to any gradient.
#include <gtest/gtest.h>

#include <deque>

#include "csrc/ops/ops.h"

namespace sy {
namespace {

class EmptyBatch : public ::testing::TestWithParam<DType> {
 protected:
  EmptyBatch() { ctx.tape = &tape; }
  Var rows(int64_t columns) { return Var(ctx.zeros({0, columns}, GetParam()), true); }
  Var accumulation(Shape shape) { return Var(ctx.zeros(std::move(shape), accumulation_dtype(GetParam())), true); }
  Tensor ints(int64_t count) { return ctx.zeros({count}, DType::i32); }
  Parameter& parameter(const Shape& shape) {
    Parameter& p = parameters.emplace_back();
    p.value = ctx.zeros(shape, GetParam());
    p.grad = ctx.zeros(shape, accumulation_dtype(GetParam()));
    for (std::byte* b = static_cast<std::byte*>(p.grad.raw());
         b != static_cast<std::byte*>(p.grad.raw()) + p.grad.bytes(); ++b)
      *b = std::byte{0x3f};
    return p;
  }
  // Runs backward from y with an empty gradient; parameters must keep their bits.
  void backward(const Var& y) {
    EXPECT_EQ(y.dim(0), 0);
    y.set_grad(ctx.zeros(y.shape(), y.dtype()));
    tape.backward();
    expect_untouched();
  }
  void expect_untouched() {
    for (const Parameter& p : parameters)
      for (int64_t i = 0; i < p.grad.bytes(); ++i)
        ASSERT_EQ(static_cast<const std::byte*>(p.grad.raw())[i], std::byte{0x3f}) << "byte " << i;
  }

  Context ctx{DeviceType::cpu};
  Tape tape;
  std::deque<Parameter> parameters;
};
INSTANTIATE_TEST_SUITE_P(Types, EmptyBatch, ::testing::Values(DType::f32, DType::f64, DType::bf16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

TEST_P(EmptyBatch, PassesTheDenseOps) {
  const ops::AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 4};
  Parameter &norm = parameter({8}), &qkv = parameter({shape.columns(), 8}), &table = parameter({5, 8});
  Parameter &q = parameter({4}), &k = parameter({4}), &up = parameter({6, 8});
  const Tensor inv_freq = ctx.zeros({2}, DType::f64);
  const Var h = ops::rms_norm(ctx, ops::embedding(ctx, ints(0), table), norm, 1e-6);
  const Var heads = ops::head_norm(ctx, ops::linear(ctx, h, qkv), q, k, shape, 1e-6);
  const Var o = ops::causal_attention(ctx, ops::rope(ctx, heads, ints(0), inv_freq, shape, 1.0), ints(0), shape, 16);
  backward(ops::swiglu(ctx, ops::linear(ctx, ops::add(ctx, o, h), up)));
}

TEST_P(EmptyBatch, PassesTheMoeOps) {
  Parameter &up = parameter({3, 4, 8}), &down = parameter({3, 8, 2});
  for (const int64_t alignment : {1, 128}) {
    ctx.row_alignment = alignment;
    const ops::RowIndex index = ops::index_build(ctx, ints(0), ints(0), {}, {}, 0, 3, 3);
    EXPECT_EQ(ctx.to_host<int32_t>(index.seg_count), (std::vector<int32_t>{0, 0, 0}));
    EXPECT_EQ(ctx.to_host<int32_t>(index.row_end), std::vector<int32_t>{0});
    const Var x = rows(8);
    const Var score = ops::router_scores(ctx, accumulation({0, 3}), kernels::ScoreLink::kSoftmax);
    const Var weight = ops::gate_weight(ctx, score, ints(0), ints(0), {}, {.per_token = 2});
    const Var h = ops::grouped_linear(ctx, ops::gather_rows(ctx, x, index), up, index, 0);
    const Var y = ops::grouped_linear(ctx, ops::swiglu(ctx, h, index.row_end), down, index, 0);
    backward(ops::combine(ctx, y, weight, x, index));
  }
}

TEST_P(EmptyBatch, PassesTheLossesAndAddsNothing) {
  Parameter& head = parameter({16, 8});
  const Tensor slot = ctx.zeros({1}, DType::f64);
  ctx.host_step_state.inv_loss_tokens = ctx.host_step_state.inv_batch_tokens = 1.0;
  ctx.upload_step_state();
  ops::fused_cross_entropy(ctx, rows(8), head, ints(0), 11, slot);
  ops::z_loss(ctx, accumulation({0, 4}), 1.0, slot);
  ops::entropy_loss(ctx, accumulation({0, 4}), 1.0, slot);
  ops::load_balance_loss(ctx, accumulation({0, 4}), accumulation({0, 4}).value(), 4, 1.0, slot);
  ops::importance_loss(ctx, accumulation({0}), ints(0), 0, 4, 1.0, slot);
  tape.backward();
  expect_untouched();
  EXPECT_EQ(ctx.to_host<double>(slot)[0], 0.0);
}

}  // namespace
}  // namespace sy
