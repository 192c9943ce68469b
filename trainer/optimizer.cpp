#include "trainer/optimizer.h"

#include <algorithm>
#include <cmath>

#include "csrc/core/launch.h"
#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "parallel/collective_ops.h"

namespace sy {

Optimizer::Optimizer(Context& ctx, Decoder& decoder, const OptimizerConfig& config)
    : ctx_(ctx), parameters_(decoder.parameters()), config_(config) {
  parameters_.make_training_buffers();
  int64_t largest = 0;
  for (const ParameterBucket& bucket : parameters_.buckets()) {
    const DType accumulation = bucket.grad.dtype();
    moments_.push_back({ctx.zeros({bucket.share_count}, accumulation, MemoryKind::optimizer),
                        ctx.zeros({bucket.share_count}, accumulation, MemoryKind::optimizer)});
    largest = std::max(largest, bucket.share_count);
  }
  norm_total_ = ctx.zeros({1}, DType::f64, MemoryKind::workspace);
  norm_partials_ = ctx.empty({kernels::sum_squares_partials(largest)}, DType::f64, MemoryKind::workspace);
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

// The sum of squares over all elements of the model, each counted by the one rank that owns it.
void Optimizer::form_norm() {
  ctx_.set_zero(norm_total_);
  for (const ParameterBucket& bucket : parameters_.buckets()) {
    if (!bucket.counts) continue;
    const Tensor share = bucket.share(bucket.grad);
    dispatch_accumulation(share.dtype(), [&]<class A>() {
      SY_LAUNCH(ctx_, sum_squares,
                (kernels::SumSquares<A>{.x = share.data<A>(),
                                        .total = norm_total_.data<double>(),
                                        .partials = norm_partials_.data<double>(),
                                        .count = share.count()}));
    });
  }
  if (ctx_.mesh != nullptr) all_reduce_sum(ctx_, ctx_.mesh->world(), norm_total_, "norm");
}

void Optimizer::step(const Tensor& loss) {
  form_norm();
  SY_LAUNCH(ctx_, clip_coefficient,
            (kernels::ClipCoefficient{.total = norm_total_.data<double>(),
                                      .loss = loss.data<double>(),
                                      .state = ctx_.step_state(),
                                      .max_norm = config_.clip_grad}));
  auto moments = moments_.begin();
  for (const ParameterBucket& bucket : parameters_.buckets()) {
    const Tensor grad = bucket.share(bucket.grad), value = bucket.share(bucket.value),
                 exact = ParameterList::exact_share(bucket);
    const auto& [m, v] = *moments++;
    for (const OwnedRange& own : ParameterList::owned(bucket))
      dispatch_float(value.dtype(), [&]<class T>() {
        using A = Acc<T>;
        SY_LAUNCH(ctx_, adamw,
                  (kernels::AdamW<T>{.grad = grad.data<A>() + own.share,
                                     .master = exact.data<A>() + own.share,
                                     .m = m.data<A>() + own.share,
                                     .v = v.data<A>() + own.share,
                                     .weight = value.data<T>() + own.share,
                                     .state = ctx_.step_state(),
                                     .count = own.count,
                                     .beta1 = config_.adam_beta1,
                                     .beta2 = config_.adam_beta2,
                                     .epsilon = config_.adam_eps,
                                     .weight_decay = decays(*own.parameter) ? config_.weight_decay : 0.0,
                                     .lr_scale = own.parameter->lr_scale}));
      });
  }
}

std::string Optimizer::first_bad_gradient() {
  // Backward goes from the last parameter to the first, and what it meets after a bad value is bad as well. Ranks hold
  // different shards of alike lists: the largest index over ranks wins.
  auto& all = parameters_.all();
  int64_t index = static_cast<int64_t>(all.size()) - 1;
  for (; index >= 0; --index) {
    const Parameter& p = all[static_cast<std::size_t>(index)];
    const bool bad = dispatch_accumulation(p.grad.dtype(), [&]<class A>() {
      for (const A g : ctx_.to_host<A>(p.grad))
        if (!std::isfinite(g)) return true;
      return false;
    });
    if (bad) break;
  }
  if (ctx_.mesh != nullptr) {
    Comm& world = ctx_.mesh->world();
    std::vector<int64_t> found(static_cast<std::size_t>(world.size()));
    world.all_gather<int64_t>(std::span<const int64_t>(&index, 1), found);
    index = *std::max_element(found.begin(), found.end());
  }
  return index < 0 ? "" : all[static_cast<std::size_t>(index)].name;
}

}  // namespace sy
