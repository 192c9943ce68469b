// Gradients of the dense and attention ops in f64 against central differences.
#include "tests/csrc/ops/gradcheck_fixture.h"

namespace sy {
namespace {

class DenseGradcheck : public OpGradcheck {
 protected:
  // Three documents; the second sequence of 8 tokens starts inside the row list, with grouped queries.
  static constexpr ops::AttentionShape kShape{.heads = 4, .kv_heads = 2, .head_dim = 6};
  static constexpr int64_t kTokens = 13;
};

TEST_F(DenseGradcheck, Linear) {
  const Var x = input("x", {5, 7});
  Parameter& w = parameter("weight", {4, 7});
  check([&] { return ops::linear(ctx, x, w); });
}

TEST_F(DenseGradcheck, AddBias) {
  const Var x = input("x", {5, 7}), zero(ctx.zeros({5, 7}, DType::f64));
  Parameter& b = parameter("bias", {7});
  // The op adds in place, so it gets a copy each time.
  check([&] { return ops::add_bias(ctx, ops::add(ctx, x, zero), b); });
}

TEST_F(DenseGradcheck, Scale) {
  const Var x = input("x", {5, 7});
  check([&] { return ops::scale(ctx, x, 1.7); });
}

TEST_F(DenseGradcheck, Add) {
  const Var a = input("a", {3, 5}), b = input("b", {3, 5});
  check([&] { return ops::add(ctx, a, b); });
}

TEST_F(DenseGradcheck, AddOfAValueToItself) {
  const Var a = input("a", {3, 5});
  check([&] { return ops::add(ctx, a, a); });
}

TEST_F(DenseGradcheck, RmsNorm) {
  const Var x = input("x", {6, 9}, 2.0);
  Parameter& w = parameter("weight", {9});
  check([&] { return ops::rms_norm(ctx, x, w, 1e-5); });
}

TEST_F(DenseGradcheck, HeadNorm) {
  const Var x = input("qkv", {5, kShape.columns()});
  Parameter &q = parameter("q_weight", {kShape.head_dim}), &k = parameter("k_weight", {kShape.head_dim});
  check([&] { return ops::head_norm(ctx, x, q, k, kShape, 1e-5); });
}

TEST_F(DenseGradcheck, HeadNormOverAllHeads) {
  const Var x = input("qkv", {5, kShape.columns()});
  Parameter& q = parameter("q_weight", {kShape.heads * kShape.head_dim});
  Parameter& k = parameter("k_weight", {kShape.kv_heads * kShape.head_dim});
  check([&] { return ops::head_norm(ctx, x, q, k, kShape, 1e-5); });
}

TEST_F(DenseGradcheck, Embedding) {
  Parameter& table = parameter("table", {6, 5});
  const Tensor id = ints({3, 0, 3, 5, 3, 1});  // one row three times, two rows never
  check([&] { return ops::embedding(ctx, id, table); });
}

TEST_F(DenseGradcheck, Swiglu) {
  const Var h = input("h", {6, 10}, 2.0);
  check([&] { return ops::swiglu(ctx, h); });
}

TEST_F(DenseGradcheck, SigmoidGate) {
  const Var x = input("x", {6, 9}), gate = input("gate", {6, 1}, 2.0);
  check([&] { return ops::sigmoid_gate(ctx, x, gate); });
}

TEST_F(DenseGradcheck, SwigluUpToADeviceSideRowCount) {
  const Var h = input("h", {6, 10}, 2.0);
  for (int64_t i = 4 * 10; i < 60; ++i) h.value().data<double>()[i] = std::numeric_limits<double>::quiet_NaN();
  const Tensor row_end = ints({4});
  restrict_rows("h", {{0, 4}});
  check([&] { return ops::swiglu(ctx, h, row_end); }, {true, true, true, true, false, false});
}

TEST_F(DenseGradcheck, Rope) {
  const Var x = input("qkv", {kTokens, kShape.columns()});
  const Var zero(ctx.zeros(x.shape(), DType::f64));
  std::vector<int32_t> position;
  for (int32_t t = 0; t < kTokens; ++t) position.push_back(t < 5 ? t : 3 * t);
  const Tensor inv_freq = ctx.from_host<double>(std::vector<double>{1.0, 0.3, 0.01}, {3}, MemoryKind::data);
  // The op rotates in place, so it gets a copy each time.
  check([&] { return ops::rope(ctx, ops::add(ctx, x, zero), ints(position), inv_freq, kShape, 1.25); });
}

// The gradient of a sum is one tensor for both terms: rotating it in place would turn the other term's gradient.
TEST_F(DenseGradcheck, RopeLeavesAGradientThatAnotherValueShares) {
  const Var x = input("qkv", {3, kShape.columns()}), other = input("other", {3, kShape.columns()});
  const Var zero(ctx.zeros(x.shape(), DType::f64));
  const Tensor inv_freq = ctx.from_host<double>(std::vector<double>{1.0, 0.3, 0.01}, {3}, MemoryKind::data);
  check([&] {
    const Var y = ops::rope(ctx, ops::add(ctx, x, zero), ints({1, 2, 3}), inv_freq, kShape, 1.0);
    return ops::add(ctx, other, y);
  });
}

TEST_F(DenseGradcheck, CausalAttentionWithDocumentsAndGroupedQueries) {
  const Var x = input("qkv", {kTokens, kShape.columns()});
  const Tensor first_key = ints({0, 0, 0, 3, 4, 4, 4, 4, 4, 9, 9, 9, 9});
  check([&] { return ops::causal_attention(ctx, x, first_key, kShape, 5); });
}

// Longer than one tile of queries and keys, so that every path over tiles takes part.
TEST_F(DenseGradcheck, CausalAttentionOverSeveralTiles) {
  const ops::AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 4};
  constexpr int64_t tokens = 150;
  const Var x = input("qkv", {tokens, shape.columns()});
  std::vector<int32_t> first_key;
  for (int32_t t = 0; t < tokens; ++t) first_key.push_back(t < 17 ? 0 : 17);
  samples = 80;
  check([&] { return ops::causal_attention(ctx, x, ints(first_key), shape, tokens); });
}

TEST_F(DenseGradcheck, AttentionBlockFromNormToOutput) {
  const Var x = input("x", {kTokens, 8});
  Parameter &norm = parameter("norm", {8}), &qkv = parameter("qkv", {kShape.columns(), 8});
  Parameter &q = parameter("q_norm", {kShape.head_dim}), &k = parameter("k_norm", {kShape.head_dim});
  Parameter& out = parameter("out", {8, kShape.heads * kShape.head_dim});
  const Tensor first_key = ints({0, 0, 0, 3, 4, 4, 4, 4, 4, 9, 9, 9, 9});
  const Tensor position = ints({0, 1, 2, 0, 0, 1, 2, 3, 4, 0, 1, 2, 3});
  const Tensor inv_freq = ctx.from_host<double>(std::vector<double>{1.0, 0.3, 0.01}, {3}, MemoryKind::data);
  samples = 60;
  check([&] {
    const Var h = ops::linear(ctx, ops::rms_norm(ctx, x, norm, 1e-6), qkv);
    const Var rotated = ops::rope(ctx, ops::head_norm(ctx, h, q, k, kShape, 1e-6), position, inv_freq, kShape, 1.0);
    return ops::add(ctx, x, ops::linear(ctx, ops::causal_attention(ctx, rotated, first_key, kShape, 5), out));
  });
}

// Values of the ops that have no golden file of their own.
TEST_F(DenseGradcheck, HeadNormIsTheRmsNormOfEachHeadAndCopiesV) {
  const Tensor x = random({3, kShape.columns()});
  Parameter &q = parameter("q", {kShape.head_dim}), &k = parameter("k", {kShape.head_dim});
  const double epsilon = 1e-3;
  const Tensor y = ops::head_norm(ctx, Var(x), q, k, kShape, epsilon).value();
  const int64_t d = kShape.head_dim;
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t head = 0; head < kShape.heads + 2 * kShape.kv_heads; ++head) {
      const double* in = x.data<double>() + row * kShape.columns() + head * d;
      const double* out = y.data<double>() + row * kShape.columns() + head * d;
      double squares = 0;
      for (int64_t i = 0; i < d; ++i) squares += in[i] * in[i];
      const double rstd = 1 / std::sqrt(squares / static_cast<double>(d) + epsilon);
      const bool is_q = head < kShape.heads, is_v = head >= kShape.heads + kShape.kv_heads;
      for (int64_t i = 0; i < d; ++i) {
        const double weight = (is_q ? q : k).value.data<double>()[i];
        EXPECT_NEAR(out[i], is_v ? in[i] : in[i] * rstd * weight, 1e-12) << "head " << head << " element " << i;
      }
    }
}

TEST_F(DenseGradcheck, CastKeepsValuesAndCastsTheGradientBack) {
  const Var x(ctx.from_host<float>(std::vector<float>{1.5f, -0.25f, 3.0f, 1.0009765625f}, {4}, MemoryKind::data), true);
  Tape tape;
  ctx.tape = &tape;
  const Var y = ops::cast(ctx, x, DType::bf16);
  ASSERT_EQ(y.dtype(), DType::bf16);
  const std::vector<bf16> got = ctx.to_host<bf16>(y.value());
  EXPECT_EQ(static_cast<float>(got[1]), -0.25f);
  EXPECT_EQ(static_cast<float>(got[3]), 1.0f) << "rounded to eight bits";
  y.set_grad(ctx.from_host<bf16>(std::vector<bf16>{bf16(1), bf16(2), bf16(-3), bf16(0.5f)}, {4}, MemoryKind::data));
  tape.backward();
  ctx.tape = nullptr;
  EXPECT_EQ(ctx.to_host<float>(x.grad()), (std::vector<float>{1, 2, -3, 0.5f}));
}

}  // namespace
}  // namespace sy
