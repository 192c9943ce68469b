// Balance losses (kernels/moe/balance.h): the value goes to a loss slot now, the gradient to the argument in backward.
#include "kernels/moe/balance.h"

#include "csrc/autograd/checkpoint.h"
#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"

namespace sy::ops {

namespace {

double* slot_data(const Tensor& slot) { return slot.defined() ? slot.data<double>() : nullptr; }

// Launches `run(loss, gradient)` with only the value wanted, and records it with only the gradient wanted.
template <class Run>
void loss_op(Context& ctx, const Var& x, const Tensor& slot, Run run) {
  // A recomputed region has added its losses in the first run.
  if (ctx.replay == nullptr || !ctx.replay->replaying()) run(slot_data(slot), Tensor());
  if (needs_record(ctx, {&x}))
    ctx.tape->record([&ctx, x, run]() {
      Tensor dx = ctx.empty(x.shape(), x.dtype());
      run(nullptr, dx);
      x.add_grad(ctx, std::move(dx));
    });
}

template <class A>
A* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<A>() : nullptr;
}

}  // namespace

void load_balance_loss(Context& ctx, const Var& probability, const Tensor& fraction, int64_t group_tokens,
                       double coefficient, const Tensor& slot) {
  const int64_t tokens = probability.dim(0), experts = probability.dim(1);
  SY_CHECK(group_tokens > 0 && tokens % group_tokens == 0 && fraction.count() == tokens / group_tokens * experts,
           "load_balance_loss: {} tokens in groups of {}, fractions {}", tokens, group_tokens,
           shape_string(fraction.shape()));
  loss_op(ctx, probability, slot, [=, &ctx](double* loss, const Tensor& dp) {
    dispatch_accumulation(probability.dtype(), [&]<class A>() {
      SY_LAUNCH(ctx, load_balance,
                (kernels::LoadBalance<A>{.probability = probability.value().data<A>(),
                                         .fraction = fraction.data<A>(),
                                         .state = ctx.step_state(),
                                         .loss = loss,
                                         .dprobability = data_or_null<A>(dp),
                                         .tokens = tokens,
                                         .experts = experts,
                                         .group_tokens = group_tokens,
                                         .coefficient = coefficient}));
    });
  });
}

void z_loss(Context& ctx, const Var& logits, double coefficient, const Tensor& slot) {
  loss_op(ctx, logits, slot, [=, &ctx](double* loss, const Tensor& dlogits) {
    dispatch_accumulation(logits.dtype(), [&]<class A>() {
      SY_LAUNCH(ctx, z_loss,
                (kernels::ZLoss<A>{.logits = logits.value().data<A>(),
                                   .state = ctx.step_state(),
                                   .loss = loss,
                                   .dlogits = data_or_null<A>(dlogits),
                                   .tokens = logits.dim(0),
                                   .experts = logits.dim(1),
                                   .coefficient = coefficient}));
    });
  });
}

void entropy_loss(Context& ctx, const Var& probability, double coefficient, const Tensor& slot) {
  loss_op(ctx, probability, slot, [=, &ctx](double* loss, const Tensor& dp) {
    dispatch_accumulation(probability.dtype(), [&]<class A>() {
      SY_LAUNCH(ctx, entropy_loss,
                (kernels::EntropyLoss<A>{.probability = probability.value().data<A>(),
                                         .state = ctx.step_state(),
                                         .loss = loss,
                                         .dprobability = data_or_null<A>(dp),
                                         .tokens = probability.dim(0),
                                         .experts = probability.dim(1),
                                         .coefficient = coefficient}));
    });
  });
}

void squared_cv_loss(Context& ctx, const Var& values, int64_t tokens, double coefficient, const Tensor& slot) {
  loss_op(ctx, values, slot, [=, &ctx](double* loss, const Tensor& dv) {
    dispatch_accumulation(values.dtype(), [&]<class A>() {
      SY_LAUNCH(ctx, squared_cv,
                (kernels::SquaredCv<A>{.values = values.value().data<A>(),
                                       .state = ctx.step_state(),
                                       .loss = loss,
                                       .dvalues = data_or_null<A>(dv),
                                       .count = values.value().count(),
                                       .tokens = tokens,
                                       .coefficient = coefficient}));
    });
  });
}

void importance_loss(Context& ctx, const Var& weight, const Tensor& expert, int64_t tokens, int64_t experts,
                     double coefficient, const Tensor& slot) {
  const int64_t entries = weight.value().count();
  Tensor importance = ctx.empty({experts}, weight.dtype());
  dispatch_accumulation(weight.dtype(), [&]<class A>() {
    SY_LAUNCH(ctx, importance_forward,
              (kernels::ImportanceForward<A>{.expert = expert.data<int32_t>(),
                                             .weight = weight.value().data<A>(),
                                             .importance = importance.data<A>(),
                                             .entries = entries,
                                             .experts = experts}));
  });
  const bool record = needs_record(ctx, {&weight});
  const Var summed(std::move(importance), record);
  if (record)
    ctx.tape->record([&ctx, weight, expert, summed, entries, experts]() {
      const Tensor dimportance = summed.take_grad();
      if (!dimportance.defined()) return;
      Tensor dweight = ctx.empty(weight.shape(), weight.dtype());
      dispatch_accumulation(weight.dtype(), [&]<class A>() {
        SY_LAUNCH(ctx, importance_backward,
                  (kernels::ImportanceBackward<A>{.expert = expert.data<int32_t>(),
                                                  .dimportance = dimportance.data<A>(),
                                                  .dweight = dweight.data<A>(),
                                                  .entries = entries,
                                                  .experts = experts}));
      });
      weight.add_grad(ctx, std::move(dweight));
    });
  squared_cv_loss(ctx, summed, tokens, coefficient, slot);
}

}  // namespace sy::ops
