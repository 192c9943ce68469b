#include "csrc/moe/dispatch.h"

#include "csrc/core/launch.h"
#include "kernels/moe/shard_assignment.h"
#include "parallel/mesh.h"

namespace sy::moe {

Assignment own_entries(Context& ctx, const DispatchInput& input, bool only_dropped) {
  const Assignment& a = input.assignment;
  Assignment own = a;
  own.token_N = ctx.empty(a.token_N.shape(), DType::i32);
  own.expert_N = ctx.empty(a.expert_N.shape(), DType::i32);
  SY_LAUNCH(ctx, shard_assignment,
            (kernels::ShardAssignment{.token = a.token_N.data<int32_t>(),
                                      .expert = a.expert_N.data<int32_t>(),
                                      .kept = a.kept_N.defined() ? a.kept_N.data<uint8_t>() : nullptr,
                                      .token_out = own.token_N.data<int32_t>(),
                                      .expert_out = own.expert_N.data<int32_t>(),
                                      .entries = a.token_N.count(),
                                      .first_token = input.first_token,
                                      .tokens = input.x_TD.dim(0),
                                      .only_dropped = only_dropped}));
  return own;
}

Var identity_of_dropped(Context& ctx, const DispatchInput& input, int64_t num_experts) {
  const Assignment dropped = own_entries(ctx, input, /*only_dropped=*/true);
  // No entry gets a row, so each of them counts as one whose expert had no room.
  ops::RowIndex index = ops::index_build(ctx, dropped.token_N, dropped.expert_N, dropped.kept_N, {}, input.x_TD.dim(0),
                                         num_experts, num_experts);
  index.rows = 0;
  const Var no_rows(ctx.empty({0, input.x_TD.dim(1)}, input.x_TD.dtype()));
  return ops::combine(ctx, no_rows, input.weight_N, input.x_TD, index);
}

namespace {

class LocalDispatch final : public Dispatch {
 public:
  explicit LocalDispatch(int64_t num_experts) : experts_(num_experts) {}

  Var forward(Context& ctx, const DispatchInput& input, const Experts& experts) const override {
    if (input.meanwhile) input.meanwhile();
    const bool whole = ctx.mesh == nullptr || ctx.mesh->tensor().size() == 1;
    const Assignment own = whole ? input.assignment : own_entries(ctx, input);
    const ops::RowIndex index = ops::index_build(ctx, own.token_N, own.expert_N, own.kept_N, experts.slot_of_expert(),
                                                 input.x_TD.dim(0), experts_, experts.slots());
    const bool weight_input = input.weight_position == WeightPosition::kExpertInput;
    const Var rows = ops::gather_rows(ctx, input.x_TD, index, weight_input ? input.weight_N : Var());
    const Var outputs = experts.forward(ctx, rows, index);
    return ops::combine(ctx, outputs, weight_input ? Var() : input.weight_N,
                        input.identity_overflow ? input.x_TD : Var(), index);
  }

 private:
  int64_t experts_;
};

}  // namespace

std::unique_ptr<Dispatch> make_dispatch(const Context& ctx, int64_t num_experts) {
  if (ctx.mesh != nullptr && ctx.mesh->expert().size() > 1)
    return make_expert_parallel_dispatch(*ctx.mesh, num_experts);
  return std::make_unique<LocalDispatch>(num_experts);
}

}  // namespace sy::moe
