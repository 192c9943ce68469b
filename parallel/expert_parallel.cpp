// Expert parallelism: the experts of a layer are spread over the ranks of an expert group, and rows travel.
//
//   1. a rank's entries become two sorted lists: token rows by destination (each token at most once per destination)
//      and entries by destination
//   2. counts travel, then token rows, then entries: (place of the row, expert) and their weights
//   3. each rank runs its own experts on what arrived, and sums the results of a token's local experts, weighted
//   4. one row per token and destination travels back, and each token adds up what its destinations computed
// The group has expert x expert_tensor ranks; a token goes to all slices of an expert, whose results are partial sums,
// so step 4 adds them up as well. Ranks without tokens and experts without rows take part in everything. The host reads
// the counts, which a library that moves bytes needs there.
#include <algorithm>

#include "csrc/core/launch.h"
#include "csrc/moe/dispatch.h"
#include "kernels/moe/dispatch_plan.h"
#include "parallel/collective_ops.h"
#include "parallel/tracked_transfer.h"

namespace sy::moe {
namespace {

using Counts = std::vector<int64_t>;

int64_t total(const Counts& counts) {
  int64_t sum = 0;
  for (const int64_t n : counts) sum += n;
  return sum;
}

std::vector<int32_t> starts(const Counts& counts) {
  std::vector<int32_t> first = {0};
  for (const int64_t n : counts) first.push_back(first.back() + static_cast<int32_t>(n));
  return first;
}

class ExpertParallelDispatch final : public Dispatch {
 public:
  ExpertParallelDispatch(Mesh& mesh, int64_t num_experts)
      : group_(mesh.expert()),
        ranks_(mesh.expert().size()),
        expert_ranks_(mesh.sizes().expert),
        tensor_ranks_(mesh.sizes().expert_tensor),
        local_experts_(num_experts / mesh.sizes().expert),
        chunks_(mesh.sizes().dispatch_chunks) {}

  Var forward(Context& ctx, const DispatchInput& input, const Experts& experts) const override {
    // Everything departs first; then each part's experts run while later parts are still on their way, and its results
    // travel home while the next part's experts run.
    std::vector<Part> parts;
    for (int64_t c = 0; c < chunks_; ++c) parts.push_back(send(ctx, input, c));
    if (input.meanwhile) input.meanwhile();
    for (Part& part : parts) run_experts(ctx, input, experts, part);
    std::vector<Var> sums;
    for (const Part& part : parts) sums.push_back(ops::combine(ctx, arrive(ctx, part.home), {}, {}, part.plan.rows));
    const Var y = chunks_ == 1 ? sums.front() : ops::concat_rows(ctx, sums);
    return input.identity_overflow ? ops::add(ctx, y, identity_of_dropped(ctx, input, local_experts_ * expert_ranks_))
                                   : y;
  }

 private:
  struct Plan {
    ops::RowIndex rows;     // token rows sorted by destination
    ops::RowIndex entries;  // copies of entries sorted by destination; an entry counts as a "token" here
    Counts send_rows, recv_rows, send_entries, recv_entries;
    Tensor payload;  // of the entries sent [entries, 2] i32
  };
  // One part of the tokens on its way to the experts and back.
  struct Part {
    Plan plan;
    std::shared_ptr<RowsInFlight> rows, entries, weights, home;
  };

  Part send(Context& ctx, const DispatchInput& input, int64_t chunk) const {
    const int64_t tokens = input.x_TD.dim(0), begin = tokens * chunk / chunks_, end = tokens * (chunk + 1) / chunks_;
    DispatchInput own = input;
    if (chunks_ > 1) own.x_TD = ops::slice_rows(ctx, input.x_TD, begin, end);
    own.first_token += begin;
    Part part;
    Plan& plan = part.plan = make_plan(ctx, own_entries(ctx, own), end - begin, tokens * tp::ranks(ctx));
    part.rows = depart(ctx, group_, ops::gather_rows(ctx, own.x_TD, plan.rows), plan.send_rows, plan.recv_rows);
    if (input.sent_bytes != nullptr) {
      const int64_t leaving = plan.rows.rows - plan.send_rows[static_cast<std::size_t>(group_.rank())];
      *input.sent_bytes += leaving * own.x_TD.dim(1) * dtype_bytes(own.x_TD.dtype());
    }
    part.entries = depart(ctx, group_, Var(plan.payload), plan.send_entries, plan.recv_entries);
    if (!input.weight_N.defined()) return part;
    // Weights travel as rows of one element beside their entries; their gradients come home the same way, added up over
    // the slices of an expert.
    const Var weight = ops::reshape(ctx, input.weight_N, {input.weight_N.dim(0), 1});
    part.weights =
        depart(ctx, group_, ops::gather_rows(ctx, weight, plan.entries), plan.send_entries, plan.recv_entries);
    return part;
  }

  void run_experts(Context& ctx, const DispatchInput& input, const Experts& experts, Part& part) const {
    const Var x = arrive(ctx, part.rows);
    Var weight;
    if (part.weights) {
      weight = arrive(ctx, part.weights);
      weight = ops::reshape(ctx, weight, {weight.dim(0)});
    }
    const Tensor payload = arrive(ctx, part.entries).value();
    const ops::RowIndex index = arrived_index(ctx, part.plan, payload, x.dim(0), experts);
    const bool weight_input = input.weight_position == WeightPosition::kExpertInput;
    const Var outputs = experts.forward(ctx, ops::gather_rows(ctx, x, index, weight_input ? weight : Var()), index);
    const Var sums = ops::combine(ctx, outputs, weight_input ? Var() : weight, {}, index);
    part.home = depart(ctx, group_, sums, part.plan.recv_rows, part.plan.send_rows);
  }

  // micro_batch: tokens that the whole list is about.
  Plan make_plan(Context& ctx, const Assignment& own, int64_t tokens, int64_t micro_batch) const {
    const int64_t entries = own.token_N.count(), copies = entries * tensor_ranks_, pairs = tokens * ranks_;
    const auto table = [&](int64_t count) { return ctx.empty({count}, DType::i32, MemoryKind::workspace); };
    const Tensor pair_token = table(pairs), pair_rank = table(pairs), copy_entry = table(copies),
                 copy_rank = table(copies);
    SY_LAUNCH(ctx, dispatch_plan,
              (kernels::DispatchPlan{.token = own.token_N.data<int32_t>(),
                                     .expert = own.expert_N.data<int32_t>(),
                                     .kept = own.kept_N.defined() ? own.kept_N.data<uint8_t>() : nullptr,
                                     .pair_token = pair_token.data<int32_t>(),
                                     .pair_rank = pair_rank.data<int32_t>(),
                                     .copy_entry = copy_entry.data<int32_t>(),
                                     .copy_rank = copy_rank.data<int32_t>(),
                                     .entries = entries,
                                     .tokens = tokens,
                                     .expert_ranks = expert_ranks_,
                                     .tensor_ranks = tensor_ranks_,
                                     .experts_per_rank = local_experts_}));
    Plan plan;
    plan.rows = ops::index_build(ctx, pair_token, pair_rank, {}, {}, tokens, ranks_, ranks_, 1);
    plan.entries = ops::index_build(ctx, copy_entry, copy_rank, {}, {}, entries, ranks_, ranks_, 1);
    track_awaited(ctx, share_per_rank(group_, "row counts", 2 * sizeof(int64_t)));
    if (ctx.device() == DeviceType::meta) assume_even_routing(plan, tokens, entries * tokens / micro_batch);
    else exchange_counts(ctx, plan);
    // Buffers are as large as what travels, not as the bound.
    plan.rows.rows = total(plan.send_rows);
    plan.entries.rows = total(plan.send_entries);
    plan.payload = ctx.empty({plan.entries.rows, 2}, DType::i32, MemoryKind::workspace);
    SY_LAUNCH(ctx, pack_entries,
              (kernels::PackEntries{.token = own.token_N.data<int32_t>(),
                                    .expert = own.expert_N.data<int32_t>(),
                                    .copy_rank = copy_rank.data<int32_t>(),
                                    .row_entry = plan.entries.row_entry.data<int32_t>(),
                                    .pair_row = plan.rows.entry_row.data<int32_t>(),
                                    .pair_start = plan.rows.seg_start.data<int32_t>(),
                                    .payload = plan.payload.data<int32_t>(),
                                    .rows = plan.entries.rows,
                                    .expert_ranks = expert_ranks_,
                                    .tensor_ranks = tensor_ranks_,
                                    .experts_per_rank = local_experts_}));
    return plan;
  }

  // Without data: every expert gets as many entries, and which different experts a token has is chance.
  void assume_even_routing(Plan& plan, int64_t tokens, int64_t entries) const {
    const int64_t experts = local_experts_ * expert_ranks_;
    const int64_t per_token = tokens == 0 ? 0 : std::min(experts, (entries + tokens - 1) / tokens);
    double none_here = 1;  // that a token has none of a rank's experts
    for (int64_t i = 0; i < per_token; ++i)
      none_here *=
          static_cast<double>(std::max<int64_t>(0, experts - local_experts_ - i)) / static_cast<double>(experts - i);
    const auto rows = static_cast<int64_t>(static_cast<double>(tokens) * (1 - none_here) + 0.5);
    const auto count = static_cast<std::size_t>(ranks_);
    plan.send_rows = plan.recv_rows = Counts(count, rows);
    plan.send_entries = plan.recv_entries = Counts(count, (entries + expert_ranks_ - 1) / expert_ranks_);
  }

  void exchange_counts(Context& ctx, Plan& plan) const {
    const std::vector<int32_t> rows = ctx.to_host<int32_t>(plan.rows.seg_count);
    const std::vector<int32_t> entries = ctx.to_host<int32_t>(plan.entries.seg_count);
    Counts mine, theirs(static_cast<std::size_t>(2 * ranks_), 0);
    for (std::size_t g = 0; g < rows.size(); ++g) {
      mine.push_back(rows[g]);
      mine.push_back(entries[g]);
    }
    group_.all_to_all<int64_t>(mine, Counts(rows.size(), 2), theirs, Counts(rows.size(), 2));
    for (std::size_t i = 0; i < mine.size(); i += 2) {
      plan.send_rows.push_back(mine[i]);
      plan.send_entries.push_back(mine[i + 1]);
      plan.recv_rows.push_back(theirs[i]);
      plan.recv_entries.push_back(theirs[i + 1]);
    }
  }

  // The rows of this rank's experts, from the entries that arrived.
  ops::RowIndex arrived_index(Context& ctx, const Plan& plan, const Tensor& payload, int64_t rows,
                              const Experts& experts) const {
    const int64_t entries = payload.dim(0);
    const std::vector<int32_t> entry_first = starts(plan.recv_entries), row_first = starts(plan.recv_rows);
    const auto on_device = [&](const std::vector<int32_t>& values) {
      return ctx.from_host<int32_t>(values, {static_cast<int64_t>(values.size())}, MemoryKind::workspace);
    };
    const Tensor entry_start = on_device(entry_first), row_start = on_device(row_first);
    const Tensor token = ctx.empty({entries}, DType::i32, MemoryKind::workspace);
    const Tensor expert = ctx.empty({entries}, DType::i32, MemoryKind::workspace);
    SY_LAUNCH(ctx, unpack_entries,
              (kernels::UnpackEntries{.payload = payload.data<int32_t>(),
                                      .entry_start = entry_start.data<int32_t>(),
                                      .row_start = row_start.data<int32_t>(),
                                      .token_out = token.data<int32_t>(),
                                      .expert_out = expert.data<int32_t>(),
                                      .entries = entries,
                                      .ranks = ranks_}));
    return ops::index_build(ctx, token, expert, {}, experts.slot_of_expert(), rows, local_experts_, experts.slots());
  }

  Comm& group_;
  int64_t ranks_, expert_ranks_, tensor_ranks_, local_experts_, chunks_;
};

}  // namespace

std::unique_ptr<Dispatch> make_expert_parallel_dispatch(Mesh& mesh, int64_t num_experts) {
  return std::make_unique<ExpertParallelDispatch>(mesh, num_experts);
}

}  // namespace sy::moe
