// Causal attention (documents, grouped queries) and attention over a cache, against PyTorch.
#include "csrc/core/launch.h"
#include "kernels/attention/causal_attention.h"
#include "tests/csrc/ops/golden_fixture.h"

namespace sy {
namespace {

using golden::Golden;

class AttentionGolden : public OpGolden {
 protected:
  // The first `columns` columns of each of `rows` rows.
  static std::vector<double> first_columns(const std::vector<double>& values, int64_t rows, int64_t columns) {
    std::vector<double> out;
    const auto ld = static_cast<std::ptrdiff_t>(values.size()) / rows;
    for (std::ptrdiff_t r = 0; r < rows; ++r)
      out.insert(out.end(), values.begin() + r * ld, values.begin() + r * ld + columns);
    return out;
  }

  void expect_attention(const std::string& file, const golden::Bounds& bounds) {
    const Golden g(ctx, file);
    const ops::AttentionShape shape{
        .heads = g.integer("heads"), .kv_heads = g.integer("kv_heads"), .head_dim = g.integer("head_dim")};
    const int64_t tokens = g.integer("tokens"), columns = shape.columns();
    const Var qkv(golden::rounded(ctx, first_columns(g.values("qkv"), tokens, columns), {tokens, columns}, type()),
                  true);
    const Var o = ops::causal_attention(ctx, qkv, g.load("first_key"), shape, g.integer("max_span"));
    golden::expect_close(golden::widened(ctx, o.value()), g.values("o"), bounds, "o");
    backward(o, g.load("grad_o", type()));
    golden::expect_close(golden::widened(ctx, qkv.grad()), first_columns(g.values("dqkv"), tokens, columns), bounds,
                         "dqkv");
  }
};
INSTANTIATE_TEST_SUITE_P(Types, AttentionGolden, ::testing::Values(DType::f32, DType::f64, DType::bf16),
                         dtype_test_name);

TEST_P(AttentionGolden, CausalAttentionEqualsPytorch) {
  expect_attention("causal_attention", golden::bounds_of(type()));
}

TEST_P(AttentionGolden, CausalAttentionOverManyKeyBlocksEqualsPytorch) {
  expect_attention("causal_attention_long", golden::bounds_of(type()));
}

TEST_P(AttentionGolden, CachedAttentionEqualsPytorch) {
  const Golden g(ctx, "cached_attention");
  const Tensor q = g.load("q", type()), k = g.load("k", type()), v = g.load("v", type()), past = g.load("past");
  const Tensor o = ctx.empty(q.shape(), type());
  dispatch_float(type(), [&]<class T>() {
    SY_LAUNCH(ctx, cached_attention,
              (kernels::CachedAttention<T>{.q = q.data<T>(),
                                           .k = k.data<T>(),
                                           .v = v.data<T>(),
                                           .past = past.data<int32_t>(),
                                           .o = o.data<T>(),
                                           .batch = g.integer("batch"),
                                           .query_count = g.integer("query_count"),
                                           .capacity = g.integer("capacity"),
                                           .heads = g.integer("heads"),
                                           .kv_heads = g.integer("kv_heads"),
                                           .head_dim = g.integer("head_dim"),
                                           .scale = g.number("scale")}));
  });
  g.expect("o", o, type());
}

}  // namespace
}  // namespace sy
