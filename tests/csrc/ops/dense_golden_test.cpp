// linear, embedding, swiglu, rms_norm and rope against PyTorch: values and all gradients.
#include "csrc/core/launch.h"
#include "kernels/dense/rms_norm.h"
#include "tests/csrc/ops/golden_fixture.h"

namespace sy {
namespace {

using golden::Golden;

class DenseGolden : public OpGolden {};
INSTANTIATE_TEST_SUITE_P(Types, DenseGolden, ::testing::Values(DType::f32, DType::f64, DType::bf16), dtype_test_name);

TEST_P(DenseGolden, LinearEqualsPytorch) {
  const Golden g(ctx, "linear");
  const Var x(g.load("x", type()), true);
  Parameter& weight = parameter(g.load("weight", type()));
  const Var y = ops::linear(ctx, x, weight);
  g.expect("y", y.value(), type());
  backward(y, g.load("dy", type()));
  g.expect("dx", x.grad(), type());
  g.expect("dweight", weight.grad, type());
}

TEST_P(DenseGolden, EmbeddingEqualsPytorch) {
  const Golden g(ctx, "embedding");
  Parameter& table = parameter(g.load("table", type()));
  const Var y = ops::embedding(ctx, g.load("id"), table);
  g.expect("y", y.value(), type());
  backward(y, g.load("dy", type()));
  g.expect("dtable", table.grad, type());
}

TEST_P(DenseGolden, SwigluEqualsPytorch) {
  const Golden g(ctx, "swiglu");
  const Var h(g.load("h", type()), true);
  const Var a = ops::swiglu(ctx, h);
  g.expect("a", a.value(), type());
  backward(a, g.load("da", type()));
  g.expect("dh", h.grad(), type());
}

TEST_P(DenseGolden, RmsNormEqualsPytorch) {
  const Golden g(ctx, "rms_norm");
  const Var x(g.load("x", type()), true);
  Parameter& weight = parameter(g.load("weight", type()));
  const Var y = ops::rms_norm(ctx, x, weight, g.number("epsilon"));
  g.expect("y", y.value(), type());
  backward(y, g.load("dy", type()));
  g.expect("dx", x.grad(), type());
  g.expect("dweight", weight.grad, type());
}

// Vectors inside a wider buffer, as head_norm uses the kernel.
TEST_P(DenseGolden, GroupedRmsNormEqualsPytorch) {
  const Golden g(ctx, "rms_norm_grouped");
  const int64_t rows = g.integer("rows"), groups = g.integer("groups"), dim = g.integer("dim"), ldx = g.integer("ldx");
  const Tensor x = g.load("x", type()), weight = g.load("weight", type()), dy = g.load("dy", type());
  const Tensor y = ctx.empty({rows, groups * dim}, type()), dx = ctx.empty({rows, groups * dim}, type());
  const Tensor rstd = ctx.empty({rows * groups}, accumulation()), dweight = ctx.zeros({dim}, accumulation());
  const Tensor partials = ctx.empty({kernels::rms_norm_backward_partials(rows * groups, dim)}, accumulation());
  dispatch_float(type(), [&]<class T>() {
    SY_LAUNCH(ctx, rms_norm_forward,
              (kernels::RmsNormForward<T>{.x = x.data<T>(),
                                          .weight = weight.data<T>(),
                                          .y = y.data<T>(),
                                          .rstd = rstd.data<Acc<T>>(),
                                          .rows = rows,
                                          .groups = groups,
                                          .dim = dim,
                                          .ldx = ldx,
                                          .ldy = groups * dim,
                                          .epsilon = g.number("epsilon")}));
    SY_LAUNCH(ctx, rms_norm_backward,
              (kernels::RmsNormBackward<T>{.dy = dy.data<T>(),
                                           .x = x.data<T>(),
                                           .weight = weight.data<T>(),
                                           .rstd = rstd.data<Acc<T>>(),
                                           .dx = dx.data<T>(),
                                           .dweight = dweight.data<Acc<T>>(),
                                           .partials = partials.data<Acc<T>>(),
                                           .rows = rows,
                                           .groups = groups,
                                           .dim = dim,
                                           .lddy = groups * dim,
                                           .ldx = ldx,
                                           .lddx = groups * dim}));
  });
  g.expect("y", y, type());
  g.expect("rstd", rstd, type());
  g.expect("dx", dx, type());
  g.expect("dweight", dweight, type());
}

TEST_P(DenseGolden, RopeEqualsPytorch) {
  const Golden g(ctx, "rope");
  // The file rotates three heads of a row of four: two q heads and one k head beside one v head.
  const ops::AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = g.integer("head_dim")};
  ASSERT_EQ(shape.heads + shape.kv_heads, g.integer("heads"));
  ASSERT_EQ(shape.columns(), g.integer("ld"));
  const Var x(g.load("x", type()), true);
  const Var y = ops::rope(ctx, x, g.load("position"), g.load("inv_freq", DType::f64), shape, g.number("scale"));
  g.expect("y", y.value(), type());
  backward(y, g.load("dy", type()));
  g.expect("dx", x.grad(), type());
}

}  // namespace
}  // namespace sy
