// Ten AdamW steps against torch.optim.AdamW, and the gradient norm with its clip against clip_grad_norm_.
#include "csrc/core/launch.h"
#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "tests/csrc/ops/golden_fixture.h"

namespace sy {
namespace {

using golden::Golden;

class OptimGolden : public OpGolden {};
INSTANTIATE_TEST_SUITE_P(Types, OptimGolden, ::testing::Values(DType::f32, DType::f64, DType::bf16), dtype_test_name);

TEST_P(OptimGolden, TenAdamWStepsEqualPytorch) {
  const Golden g(ctx, "adamw");
  const int64_t count = g.integer("count"), steps = g.integer("steps");
  // Master, moments and gradients stay in the accumulation type, whatever the weight is.
  const Tensor master = g.load("initial", accumulation()), grads = g.load("grad", accumulation());
  const Tensor m = ctx.zeros({count}, accumulation()), v = ctx.zeros({count}, accumulation());
  const Tensor weight = ctx.empty({count}, type());
  const std::vector<double> lr = g.values("learning_rate"), clip = g.values("clip_coefficient");
  const std::vector<double> want = g.values("weight");
  for (int64_t step = 0; step < steps; ++step) {
    SCOPED_TRACE(step);
    ctx.host_step_state.step = step + 1;
    ctx.host_step_state.learning_rate = lr[static_cast<std::size_t>(step)];
    ctx.host_step_state.clip_coefficient = clip[static_cast<std::size_t>(step)];
    ctx.upload_step_state();
    dispatch_float(type(), [&]<class T>() {
      SY_LAUNCH(ctx, adamw,
                (kernels::AdamW<T>{.grad = grads.slice(step, step + 1).data<Acc<T>>(),
                                   .master = master.data<Acc<T>>(),
                                   .m = m.data<Acc<T>>(),
                                   .v = v.data<Acc<T>>(),
                                   .weight = weight.data<T>(),
                                   .state = ctx.step_state(),
                                   .count = count,
                                   .beta1 = g.number("beta1"),
                                   .beta2 = g.number("beta2"),
                                   .epsilon = g.number("epsilon"),
                                   .weight_decay = g.number("weight_decay")}));
    });
    const auto row = want.begin() + step * count;
    const std::vector<double> now(row, row + count);
    golden::expect_close(golden::widened(ctx, master), now, golden::bounds_of(accumulation()), "master");
    golden::expect_close(golden::widened(ctx, weight), now, golden::bounds_of(type()), "weight");
  }
  g.expect("m", m, accumulation());
  g.expect("v", v, accumulation());
}

class GradNormGolden : public OpGolden {};
INSTANTIATE_TEST_SUITE_P(Types, GradNormGolden, ::testing::Values(DType::f32, DType::f64), dtype_test_name);

TEST_P(GradNormGolden, NormAndClipCoefficientEqualPytorch) {
  const Golden g(ctx, "grad_norm");
  const Tensor total = ctx.zeros({1}, DType::f64);
  for (const char* name : {"a", "b"}) {
    const Tensor x = g.load(name, type());
    const Tensor partials = ctx.empty({kernels::sum_squares_partials(x.count())}, DType::f64);
    dispatch_accumulation(type(), [&]<class A>() {
      SY_LAUNCH(ctx, sum_squares,
                (kernels::SumSquares<A>{.x = x.data<A>(),
                                        .total = total.data<double>(),
                                        .partials = partials.data<double>(),
                                        .count = x.count()}));
    });
  }
  const Tensor loss = ctx.zeros({1}, DType::f64);
  for (const std::string which : {"clipped", "unclipped"}) {
    SCOPED_TRACE(which);
    SY_LAUNCH(ctx, clip_coefficient,
              (kernels::ClipCoefficient{.total = total.data<double>(),
                                        .loss = loss.data<double>(),
                                        .state = ctx.step_state(),
                                        .max_norm = g.values("max_norm_" + which)[0]}));
    ctx.download_step_state();
    const StepState& state = ctx.host_step_state;
    EXPECT_EQ(state.skip, 0);
    golden::expect_close({std::sqrt(state.grad_norm_squared)}, g.values("norm"), golden::bounds_of(type()), "norm");
    golden::expect_close({state.clip_coefficient}, g.values("clip_coefficient_" + which), golden::bounds_of(type()),
                         "clip coefficient");
    std::vector<double> scaled = golden::widened(ctx, g.load("a", type()));
    for (double& v : scaled) v *= state.clip_coefficient;
    golden::expect_close(scaled, g.values("a_" + which), golden::bounds_of(type()), "clipped gradient");
  }
}

}  // namespace
}  // namespace sy
