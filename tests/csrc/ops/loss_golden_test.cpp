// Cross-entropy and the balance losses against PyTorch: values and gradients.
#include "csrc/core/launch.h"
#include "kernels/loss/cross_entropy.h"
#include "kernels/moe/balance.h"
#include "tests/csrc/ops/golden_fixture.h"

namespace sy {
namespace {

using golden::Golden;

class LossGolden : public OpGolden {
 protected:
  // A loss is accumulated: the slot starts at `kBefore`.
  static constexpr double kBefore = 3.0;
  Tensor slot() { return ctx.from_host<double>(std::vector<double>{kBefore}, {1}, MemoryKind::data); }
  void expect_loss(const Golden& g, const std::string& name, const Tensor& slot) {
    golden::expect_close({ctx.to_host<double>(slot)[0] - kBefore}, g.values(name), golden::bounds_of(type()), name);
  }
};
// Balance losses work in the accumulation type only.
class BalanceGolden : public LossGolden {};
INSTANTIATE_TEST_SUITE_P(Types, LossGolden, ::testing::Values(DType::f32, DType::f64, DType::bf16), dtype_test_name);
INSTANTIATE_TEST_SUITE_P(Types, BalanceGolden, ::testing::Values(DType::f32, DType::f64), dtype_test_name);

TEST_P(LossGolden, FusedCrossEntropyEqualsPytorchWithAPaddedVocabulary) {
  const Golden g(ctx, "cross_entropy");
  set_inv_tokens(g.number("inv_loss_tokens"), 0);
  const int64_t vocab = g.integer("vocab"), dim = g.integer("dim"), padded = 64;
  // Padding rows hold large numbers: were they not masked, every probability would change.
  std::vector<double> weight_values = g.values("weight");
  weight_values.resize(static_cast<std::size_t>(padded * dim), 50.0);
  const Var x(g.load("x", type()), true);
  Parameter& weight = parameter(golden::rounded(ctx, weight_values, {padded, dim}, type()));
  const Tensor total = slot(), token_loss = ctx.empty({x.dim(0)}, accumulation());
  ops::fused_cross_entropy(ctx, x, weight, g.load("target"), vocab, total, token_loss);
  expect_loss(g, "loss_mean", total);
  g.expect("loss", token_loss, type());
  tape.backward();
  g.expect("dx", x.grad(), type());
  const Tensor rows = weight.grad;
  g.expect("dweight", rows.slice(0, vocab), type());
  for (const double v : golden::widened(ctx, rows.slice(vocab, padded))) EXPECT_EQ(v, 0.0) << "a padding row";
}

TEST_P(LossGolden, CrossEntropyOfGivenLogitsEqualsPytorch) {
  const Golden g(ctx, "cross_entropy");
  set_inv_tokens(g.number("inv_loss_tokens"), 0);
  const int64_t rows = g.integer("rows"), vocab = g.integer("vocab");
  const Tensor logits = g.load("logits", accumulation()), target = g.load("target");
  const Tensor loss = ctx.empty({rows}, accumulation()), dlogits = ctx.empty({rows, vocab}, type());
  dispatch_float(type(), [&]<class T>() {
    SY_LAUNCH(ctx, cross_entropy,
              (kernels::CrossEntropy<T>{.logits = logits.data<Acc<T>>(),
                                        .target = target.data<int32_t>(),
                                        .loss = loss.data<Acc<T>>(),
                                        .dlogits = dlogits.data<T>(),
                                        .state = ctx.step_state(),
                                        .rows = rows,
                                        .vocab = vocab,
                                        .ld = vocab}));
  });
  g.expect("loss", loss, type());
  g.expect("dlogits", dlogits, type());
}

TEST_P(BalanceGolden, LoadBalanceEqualsPytorchPerMicroBatchAndPerSequence) {
  for (const char* file : {"load_balance", "load_balance_sequence"}) {
    SCOPED_TRACE(file);
    const Golden g(ctx, file);
    set_inv_tokens(0, g.number("inv_batch_tokens"));
    const int64_t tokens = g.integer("tokens"), experts = g.integer("experts"), group = g.integer("group_tokens");
    // The fractions from the assignments are the file's.
    const Tensor token = g.load("token"), expert = g.load("expert");
    const Tensor fraction = ctx.empty({tokens / group, experts}, type());
    dispatch_accumulation(type(), [&]<class A>() {
      SY_LAUNCH(ctx, assignment_fraction,
                (kernels::AssignmentFraction<A>{.token = token.data<int32_t>(),
                                                .expert = expert.data<int32_t>(),
                                                .fraction = fraction.data<A>(),
                                                .entries = token.count(),
                                                .tokens = tokens,
                                                .experts = experts,
                                                .group_tokens = group,
                                                .divisor = g.number("per_token")}));
    });
    g.expect("fraction", fraction, type());
    const Var probability(g.load("probability", type()), true);
    const Tensor total = slot();
    ops::load_balance_loss(ctx, probability, fraction, group, g.number("coefficient"), total);
    expect_loss(g, "loss", total);
    tape.backward();
    g.expect("dprobability", probability.grad(), type());
  }
}

TEST_P(BalanceGolden, ZLossEqualsPytorch) {
  const Golden g(ctx, "z_loss");
  set_inv_tokens(0, g.number("inv_batch_tokens"));
  const Var logits(g.load("logits", type()), true);
  const Tensor total = slot();
  ops::z_loss(ctx, logits, g.number("coefficient"), total);
  expect_loss(g, "loss", total);
  tape.backward();
  g.expect("dlogits", logits.grad(), type());
}

TEST_P(BalanceGolden, EntropyLossEqualsPytorch) {
  const Golden g(ctx, "entropy_loss");
  set_inv_tokens(0, g.number("inv_batch_tokens"));
  const Var probability(g.load("probability", type()), true);
  const Tensor total = slot();
  ops::entropy_loss(ctx, probability, g.number("coefficient"), total);
  expect_loss(g, "loss", total);
  tape.backward();
  g.expect("dprobability", probability.grad(), type());
}

TEST_P(BalanceGolden, SquaredCvEqualsPytorch) {
  const Golden g(ctx, "squared_cv");
  set_inv_tokens(0, g.number("inv_batch_tokens"));
  const Var values(g.load("values", type()), true);
  const Tensor total = slot();
  ops::squared_cv_loss(ctx, values, g.integer("tokens"), g.number("coefficient"), total);
  expect_loss(g, "loss", total);
  tape.backward();
  g.expect("dvalues", values.grad(), type());
}

// The sum of weights per expert has no op of its own: importance_loss hands it on to squared_cv_loss.
TEST_P(BalanceGolden, ImportanceEqualsPytorch) {
  const Golden g(ctx, "importance");
  const int64_t entries = g.integer("entries"), experts = g.integer("experts");
  const Tensor expert = g.load("expert"), weight = g.load("weight", type());
  const Tensor dimportance = g.load("dimportance", type());
  const Tensor importance = ctx.empty({experts}, type()), dweight = ctx.empty({entries}, type());
  dispatch_accumulation(type(), [&]<class A>() {
    SY_LAUNCH(ctx, importance_forward,
              (kernels::ImportanceForward<A>{.expert = expert.data<int32_t>(),
                                             .weight = weight.data<A>(),
                                             .importance = importance.data<A>(),
                                             .entries = entries,
                                             .experts = experts}));
    SY_LAUNCH(ctx, importance_backward,
              (kernels::ImportanceBackward<A>{.expert = expert.data<int32_t>(),
                                              .dimportance = dimportance.data<A>(),
                                              .dweight = dweight.data<A>(),
                                              .entries = entries,
                                              .experts = experts}));
  });
  g.expect("importance", importance, type());
  g.expect("dweight", dweight, type());
}

}  // namespace
}  // namespace sy
