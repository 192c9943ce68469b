// Load-balancing loss: Switch (arXiv 2101.03961) eq. 4, GShard; global form: Qiu et al. 2025, "Demons in the detail"
// (arXiv 2501.11873), Qwen3; sequence form: DeepSeek-V3 (arXiv 2412.19437) eq. 17.
//
//   L = coefficient * E * sum_e f_e Pbar_e,   f_e = assignments of e before capacity / (K T)   (a constant),   Pbar_e =
//   mean_t P[t,e]
// scope says what f is counted over (Pbar is always of the micro-batch; the mean over micro-batches is the batch):
//   sequence             f and Pbar of each sequence
//   micro_batch          the micro-batch
//   global_batch         this wave's micro-batches over all ranks, plus the earlier waves of the step
//   global_batch_lagged  the whole previous step (the first step: no loss); invariant under any number of ranks
// With a variable number of experts per token, K T is the number of assignments made.
//
// Convention: f sums to 1, so uniform routing gives exactly coefficient (code bases that do not divide by K are K times
// larger).
#include "csrc/core/launch.h"
#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"
#include "kernels/moe/balance.h"
#include "kernels/moe/counts.h"

namespace sy::moe {
namespace {

class LoadBalancing final : public Balance {
 public:
  enum class Scope { kSequence, kMicroBatch, kGlobalBatch, kGlobalBatchLagged };
  struct Config {
    double coefficient = 0.01;
    Scope scope = Scope::kMicroBatch;
  };

  LoadBalancing(const Config& c, const Build&) : config_(c) {}

  void add_loss(Context& ctx, const RouterTrace& trace, LossSink& sink) const override {
    const Var& probability = trace.balance_probability_TE;
    if (!probability.defined())
      user_error("moe.balance: load_balancing needs a router with probabilities; this router has none");
    const int64_t tokens = trace.input->tokens();
    const int64_t group = config_.scope == Scope::kSequence ? trace.input->seq_length : tokens;
    ops::load_balance_loss(ctx, probability, fraction(ctx, trace, group), group, config_.coefficient,
                           sink.slot("load_balancing_loss"));
  }

 private:
  Tensor fraction(Context& ctx, const RouterTrace& trace, int64_t group) const {
    const DType type = trace.balance_probability_TE.dtype();
    if (config_.scope == Scope::kGlobalBatch) return of_counts(ctx, trace.step_demand_E, type);
    if (config_.scope == Scope::kGlobalBatchLagged) return of_counts(ctx, trace.previous_demand_E, type);
    const int64_t tokens = trace.input->tokens();
    Tensor f = ctx.empty({tokens / group, trace.experts}, type);
    dispatch_accumulation(type, [&]<class A>() {
      SY_LAUNCH(ctx, assignment_fraction,
                (kernels::AssignmentFraction<A>{.token = trace.demand.token_N.data<int32_t>(),
                                                .expert = trace.demand.expert_N.data<int32_t>(),
                                                .fraction = f.data<A>(),
                                                .entries = trace.demand.token_N.count(),
                                                .tokens = tokens,
                                                .experts = trace.experts,
                                                .group_tokens = group,
                                                .divisor = 0}));
    });
    return f;
  }
  static Tensor of_counts(Context& ctx, const Tensor& counts, DType type) {
    Tensor f = ctx.empty({1, counts.count()}, type);
    dispatch_accumulation(type, [&]<class A>() {
      SY_LAUNCH(ctx, count_fraction,
                (kernels::CountFraction<A>{
                    .count = counts.data<int64_t>(), .fraction = f.data<A>(), .experts = counts.count()}));
    });
    return f;
  }

  Config config_;
};

void describe(LoadBalancing::Config& c, Fields& f) {
  using Scope = LoadBalancing::Scope;
  f.field("coefficient", c.coefficient, "multiplies E * sum f_e P_e, which is 1 for uniform routing", {.min = 0});
  f.field("scope", c.scope,
          {{"sequence", Scope::kSequence},
           {"micro_batch", Scope::kMicroBatch},
           {"global_batch", Scope::kGlobalBatch},
           {"global_batch_lagged", Scope::kGlobalBatchLagged}},
          "what the counts are taken over; global_batch equals one rank for an equal number of waves, "
          "global_batch_lagged always");
}

SY_REGISTER(Balance, LoadBalancing, "load_balancing", "E * sum f_e P_e at sequence, micro-batch or global-batch scope")

}  // namespace
}  // namespace sy::moe
