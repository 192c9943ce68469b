#include "trainer/optimizer.h"

#include <cmath>

#include "csrc/core/launch.h"
#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"

namespace sy {

Optimizer::Optimizer(Context& ctx, Decoder& decoder, const OptimizerConfig& config)
    : ctx_(ctx), parameters_(decoder.parameters()), config_(config) {
  parameters_.make_gradients();
  const DType accumulation = accumulation_dtype(parameters_.dtype());
  const Tensor m = ctx.zeros({parameters_.count()}, accumulation, MemoryKind::optimizer);
  const Tensor v = ctx.zeros({parameters_.count()}, accumulation, MemoryKind::optimizer);
  int64_t offset = 0;
  for (Parameter& p : parameters_.all()) {
    const int64_t end = offset + p.value.count();
    moments_.push_back(
        {&p, m.slice(offset, end).reshape(p.value.shape()), v.slice(offset, end).reshape(p.value.shape())});
    offset = end;
  }
  norm_total_ = ctx.zeros({1}, DType::f64, MemoryKind::workspace);
  norm_partials_ = ctx.empty({kernels::sum_squares_partials(parameters_.count())}, DType::f64, MemoryKind::workspace);
}

bool Optimizer::decays(const Parameter& p) const {
  switch (config_.weight_decay_on) {
    case DecayGroups::kAll:
      return true;
    case DecayGroups::kMatricesAndEmbeddings:
      return p.decay;
    case DecayGroups::kMatrices:
      return p.decay && p.name != "model.embed_tokens.weight" && p.name != "lm_head.weight";
  }
  return true;
}

void Optimizer::step(const Tensor& loss) {
  ctx_.set_zero(norm_total_);
  const Tensor& gradients = parameters_.gradient_buffer();
  dispatch_accumulation(gradients.dtype(), [&]<class A>() {
    SY_LAUNCH(ctx_, sum_squares,
              (kernels::SumSquares<A>{.x = gradients.data<A>(),
                                      .total = norm_total_.data<double>(),
                                      .partials = norm_partials_.data<double>(),
                                      .count = gradients.count()}));
  });
  SY_LAUNCH(ctx_, clip_coefficient,
            (kernels::ClipCoefficient{.total = norm_total_.data<double>(),
                                      .loss = loss.data<double>(),
                                      .state = ctx_.step_state(),
                                      .max_norm = config_.clip_grad}));
  for (Moments& mv : moments_) {
    Parameter& p = *mv.parameter;
    dispatch_float(p.value.dtype(), [&]<class T>() {
      const Tensor& exact = ParameterList::exact(p);
      SY_LAUNCH(ctx_, adamw,
                (kernels::AdamW<T>{.grad = p.grad.data<Acc<T>>(),
                                   .master = exact.data<Acc<T>>(),
                                   .m = mv.m.data<Acc<T>>(),
                                   .v = mv.v.data<Acc<T>>(),
                                   .weight = p.value.data<T>(),
                                   .state = ctx_.step_state(),
                                   .count = p.value.count(),
                                   .beta1 = config_.adam_beta1,
                                   .beta2 = config_.adam_beta2,
                                   .epsilon = config_.adam_eps,
                                   .weight_decay = decays(p) ? config_.weight_decay : 0.0,
                                   .lr_scale = p.lr_scale}));
    });
  }
}

std::string Optimizer::first_bad_gradient() {
  // Backward goes from the last parameter to the first, and what it meets after a bad value is bad as well.
  auto& all = parameters_.all();
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    const Parameter& p = *it;
    const bool bad = dispatch_accumulation(p.grad.dtype(), [&]<class A>() {
      for (const A g : ctx_.to_host<A>(p.grad))
        if (!std::isfinite(g)) return true;
      return false;
    });
    if (bad) return p.name;
  }
  return "";
}

}  // namespace sy
