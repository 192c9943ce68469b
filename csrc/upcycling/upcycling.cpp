#include "csrc/upcycling/upcycling.h"

namespace sy::upcycling {

double weight_at_equal_logits(const moe::MoeChoices& choices, int64_t num_experts, int64_t num_experts_per_tok) {
  Context ctx(DeviceType::cpu);
  ParameterList parameters(ctx, DType::f64);
  const auto router = choices.router.build({.parameters = &parameters,
                                            .prefix = "probe",
                                            .hidden_size = 1,
                                            .vocab_size = 1,
                                            .num_experts = num_experts,
                                            .num_experts_per_tok = num_experts_per_tok});
  parameters.initialise(0);
  const moe::RouterInput input{.x_TD = Var(ctx.zeros({1, 1}, DType::f64, MemoryKind::data)),
                               .token_id_T = ctx.zeros({1}, DType::i32, MemoryKind::data),
                               .sample_id_B = ctx.zeros({1}, DType::i64, MemoryKind::data),
                               .sequences = 1,
                               .seq_length = 1};
  const moe::Scores scores = router->score(ctx, input);
  const Var weight_N = router->weigh(ctx, scores, router->select(ctx, input, scores), {});
  return weight_N.defined() ? ctx.to_host<double>(weight_N.value()).at(0) : 1;
}

void require_inputs(const LayerPlan& plan, const char* method, int64_t num_inputs) {
  if (plan.num_inputs != num_inputs)
    user_error("inputs: {} takes {} dense checkpoint, {} are given", method, num_inputs, plan.num_inputs);
}

void require_no_shared(const LayerPlan& plan, const char* method) {
  if (plan.shared_width != 0)
    user_error("moe.shared_expert_intermediate_size: {} makes no shared expert; remove the key, which is {}", method,
               plan.shared_width);
}

void require_equal_shares(const LayerPlan& plan, const char* method) {
  if (plan.dense_width % plan.num_experts != 0)
    user_error("moe.num_experts: {} divides the {} neurons of a dense block equally, and {} does not divide it", method,
               plan.dense_width, plan.num_experts);
  require_expert_width(plan, method, plan.dense_width / plan.num_experts, "an equal share of a dense block");
}

void require_expert_width(const LayerPlan& plan, const char* method, int64_t width, const char* why) {
  if (plan.expert_width != width)
    user_error("moe.moe_intermediate_size: {} makes experts of width {} ({}), not {}", method, width, why,
               plan.expert_width);
}

}  // namespace sy::upcycling
