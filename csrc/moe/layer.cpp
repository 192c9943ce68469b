#include "csrc/moe/layer.h"

#include "csrc/autograd/checkpoint.h"
#include "csrc/core/launch.h"
#include "csrc/moe/routing_log.h"
#include "kernels/moe/balance.h"
#include "kernels/moe/counts.h"
#include "kernels/moe/index_build.h"
#include "parallel/collective_ops.h"
#include "parallel/tracked_transfer.h"

namespace sy::moe {

namespace {

void sum_over_micro_batches(Context& ctx, const Tensor& counts) {
  if (ctx.mesh == nullptr || ctx.mesh->data().size() == 1) return;
  std::vector<int64_t> staged = ctx.to_host<int64_t>(counts);
  all_reduce_sum_on_host(ctx, ctx.mesh->data(), std::span<int64_t>(staged), "expert counts");
  ctx.copy_from_host(counts, staged.data());
}

// The experts, and the slice of each, that this rank holds.
ExpertsBuild own_experts(const LayerBuild& build, const std::vector<int64_t>& widths) {
  const Mesh* mesh = build.parameters->context().mesh;
  ExpertsBuild own{.layer = build, .intermediate_sizes = widths};
  if (mesh == nullptr) return own;
  const auto count = static_cast<std::ptrdiff_t>(widths.size()) / mesh->sizes().expert;
  const auto first = widths.begin() + count * mesh->expert_rank();
  own.intermediate_sizes.assign(first, first + count);
  own.first_expert = count * mesh->expert_rank();
  own.slice = mesh->expert_tensor_rank();
  own.slices = mesh->sizes().expert_tensor;
  return own;
}

}  // namespace

void describe(MoeChoices& c, Fields& f, bool is_moe) {
  const FieldRule rule{.active = is_moe, .active_when = "there are experts"};
  f.field("router", c.router, "how tokens choose experts", rule);
  f.field("capacity", c.capacity, "how many assignments an expert may take", rule);
  f.field("experts", c.experts, "what an expert computes", rule);
  f.field("balance", c.balance, "losses on the routing, added to the language-model loss", rule);
  f.field("hooks", c.hooks, "router state that changes once per optimizer step", rule);
  f.field("allow_batch_dependent_routing", c.allow_batch_dependent_routing,
          "permit routing that looks at other tokens (expert choice, score-ordered capacity): in a causal model later "
          "positions then influence earlier ones",
          rule);
}

MoeLayer::MoeLayer(const MoeChoices& choices, const MoeLayerPlan& plan, const LayerBuild& given) {
  LayerBuild build = given;
  build.num_experts = static_cast<int64_t>(plan.expert_intermediate_sizes.size());
  build.num_experts_per_tok = plan.num_experts_per_tok;
  experts_count_ = build.num_experts;
  per_token_ = build.num_experts_per_tok;
  hidden_size_ = build.hidden_size;
  prefix_ = build.prefix;
  shared_width_ = plan.shared_expert_intermediate_size;

  router_ = choices.router.build(build);
  capacity_ = choices.capacity.build(build);
  experts_ = choices.experts.build(own_experts(build, plan.expert_intermediate_sizes));
  dispatch_ = make_dispatch(build.parameters->context(), experts_count_);
  for (const auto& choice : choices.balance.items()) balance_.push_back(choice.build(build));
  for (const auto& choice : choices.hooks.items()) hooks_.push_back(choice.build(build));
  if (plan.shared_expert_intermediate_size > 0)
    shared_ = std::make_unique<nn::SwigluMlp>(*build.parameters, build.prefix + ".shared_experts", build.hidden_size,
                                              plan.shared_expert_intermediate_size, build.initializer_range);
  if (plan.shared_expert_gate)
    shared_gate_ = &build.parameters->add(build.prefix + ".shared_expert_gate.weight", {1, build.hidden_size},
                                          {InitKind::kNormal, build.initializer_range},
                                          between_sharing(build.parameters->context()));
  if (needs_batch() && !choices.allow_batch_dependent_routing)
    user_error(
        "moe: router '{}' with capacity '{}' chooses experts by looking at other tokens, which leaks later positions "
        "into "
        "earlier ones; set moe.allow_batch_dependent_routing: true to accept that",
        choices.router.type(), choices.capacity.type());

  for (std::size_t i = 0; i < hooks_.size(); ++i)
    if (hooks_[i]->sets_selection_bias() && !router_->reads_selection_bias())
      user_error("moe.hooks: {} has no effect, since router '{}' does not read a selection bias; remove one of them",
                 choices.hooks.items()[i].type(), choices.router.type());

  Context& ctx = build.parameters->context();
  stats_.demand_E = ctx.zeros({experts_count_}, DType::i64, MemoryKind::data);
  stats_.kept_E = ctx.zeros({experts_count_}, DType::i64, MemoryKind::data);
  stats_.previous_demand_E = ctx.zeros({experts_count_}, DType::i64, MemoryKind::data);
  stats_.entropy = ctx.zeros({1}, DType::f64, MemoryKind::data);
}

Var MoeLayer::forward(Context& ctx, const RouterInput& between, LossSink& sink) {
  RouterInput input = between;
  input.x_TD = tp::to_shard(ctx, between.x_TD);
  input.first_token = tp::shard_begin(ctx, input.tokens());
  RouterTrace trace;
  trace.input = &input;
  trace.experts = experts_count_;
  trace.per_token = per_token_;

  trace.scores = router_->score(ctx, input);
  for (const auto& hook : hooks_) hook->perturb(ctx, input, trace.scores);
  trace.assignment = assign(ctx, input, trace.scores, trace.demand);
  const Tensor active = capacity_->renormalise_after_drop() ? trace.assignment.kept_N : Tensor();
  trace.weight_N = router_->weigh(ctx, trace.scores, trace.assignment, active);

  const bool is_replay = ctx.replay != nullptr && ctx.replay->replaying();
  Var of_shared;
  const Var of_experts = dispatch_->forward(ctx,
                                            {.x_TD = input.x_TD,
                                             .assignment = trace.assignment,
                                             .weight_N = tp::sum_gradients(ctx, trace.weight_N),
                                             .first_token = input.first_token,
                                             .weight_position = router_->weight_position(),
                                             .identity_overflow = capacity_->identity_overflow(),
                                             .sent_bytes = ctx.training && !is_replay ? &dispatched_bytes_ : nullptr,
                                             .meanwhile =
                                                 [&] {
                                                   if (shared_) of_shared = shared_forward(ctx, between.x_TD);
                                                 }},
                                            *experts_);
  Var y = tp::from_shard(ctx, of_experts);
  if (shared_) y = ops::add(ctx, y, of_shared);

  trace.balance_probability_TE = router_->balance_probability(ctx, trace.scores);
  count(ctx, trace);
  if (ctx.training)
    for (const auto& balance : balance_) balance->add_loss(ctx, trace, sink);
  return y;
}

Var MoeLayer::shared_forward(Context& ctx, const Var& between) const {
  const Var y = shared_->forward(ctx, between);
  return shared_gate_ == nullptr ? y : ops::sigmoid_gate(ctx, y, ops::linear(ctx, between, *shared_gate_));
}

Assignment MoeLayer::assign(Context& ctx, const RouterInput& input, const Scores& scores, Assignment& demand) const {
  // A recomputed region takes the decisions of its first run: with rounding, deciding again could differ.
  if (ctx.replay != nullptr && ctx.replay->replaying()) {
    const std::vector<Tensor> saved = ctx.replay->next();
    const int64_t per_token = saved[4].count();
    demand = {saved[0], saved[1], {}, per_token};
    return {saved[0], saved[2], saved[3], per_token};
  }
  demand = router_->select(ctx, input, scores);
  Assignment assignment = demand;
  if (input.limit_capacity) capacity_->limit(ctx, input, scores, assignment);
  if (ctx.routing_log != nullptr) ctx.routing_log->pass(ctx, input, scores, demand, assignment);
  if (ctx.replay != nullptr) {
    // The block length travels as the size of an empty-handed tensor, so that everything saved is a tensor.
    const Tensor per_token = ctx.empty({assignment.per_token}, DType::u8);
    ctx.replay->save({demand.token_N, demand.expert_N, assignment.expert_N, assignment.kept_N, per_token});
  }
  return assignment;
}

void MoeLayer::count(Context& ctx, RouterTrace& trace) {
  trace.step_demand_E = stats_.demand_E;
  trace.previous_demand_E = stats_.previous_demand_E;
  if (!ctx.training || (ctx.replay != nullptr && ctx.replay->replaying())) return;
  const Tensor micro = ctx.empty({experts_count_}, DType::i64);
  const auto add_counts = [&](const Assignment& a, const Tensor& total, bool over_ranks) {
    SY_LAUNCH(ctx, expert_count,
              (kernels::ExpertCount{.expert = a.expert_N.data<int32_t>(),
                                    .kept = a.kept_N.defined() ? a.kept_N.data<uint8_t>() : nullptr,
                                    .count = micro.data<int64_t>(),
                                    .entries = a.expert_N.count(),
                                    .experts = experts_count_}));
    if (over_ranks) sum_over_micro_batches(ctx, micro);
    SY_LAUNCH(ctx, accumulate_counts,
              (kernels::AccumulateCounts{
                  .count = micro.data<int64_t>(), .total = total.data<int64_t>(), .experts = experts_count_}));
  };
  // Demand is summed over the ranks' micro-batches wave by wave: the global-batch balance loss of this wave reads it at
  // once.
  add_counts(trace.demand, stats_.demand_E, true);
  add_counts(trace.assignment, stats_.kept_E, false);
  if (trace.balance_probability_TE.defined())
    dispatch_accumulation(trace.balance_probability_TE.dtype(), [&]<class A>() {
      SY_LAUNCH(ctx, entropy_loss,
                (kernels::EntropyLoss<A>{.probability = trace.balance_probability_TE.value().data<A>(),
                                         .state = ctx.step_state(),
                                         .loss = stats_.entropy.data<double>(),
                                         .dprobability = nullptr,
                                         .tokens = trace.input->tokens(),
                                         .experts = experts_count_,
                                         .coefficient = 1.0}));
    });
}

void MoeLayer::reset_stats(Context& ctx) {
  ctx.set_zero(stats_.demand_E);
  ctx.set_zero(stats_.kept_E);
  ctx.set_zero(stats_.entropy);
  dispatched_bytes_ = 0;
}

void MoeLayer::after_step(Context& ctx) {
  for (const auto& hook : hooks_) hook->after_step(ctx, stats_.demand_E);
  ctx.copy(stats_.previous_demand_E, stats_.demand_E);
}

std::vector<StateTensor> MoeLayer::state() {
  std::vector<StateTensor> all = router_->state();
  for (const auto& hook : hooks_)
    for (StateTensor& s : hook->state()) all.push_back(std::move(s));
  all.push_back({prefix_ + ".previous_demand", stats_.previous_demand_E, /*in_model=*/false});
  return all;
}

double MoeLayer::macs_per_token() const {
  const double router = static_cast<double>(experts_count_ * hidden_size_);
  const int64_t shared_rows = 3 * shared_width_ + (shared_gate_ != nullptr ? 1 : 0);
  const double shared = static_cast<double>(shared_rows * hidden_size_);
  return router + shared + routed_macs_per_token();
}

}  // namespace sy::moe
