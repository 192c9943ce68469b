// CUDA bodies of the dispatch plan: one thread per element of a list, per row, per received entry.
//
// pair_rank starts as -1 everywhere; then entries mark the pairs that they need. Entries of one token may mark the same
// pair, all with the same number: atomically, because plain stores of equal values are a race too.
#include "kernels/moe/dispatch_plan.h"

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

__global__ void __launch_bounds__(kBlock) clear_pairs_kernel(DispatchPlan args) {
  const int64_t i = global_thread(), ranks = args.expert_ranks * args.tensor_ranks;
  if (i >= args.tokens * ranks) return;
  args.pair_token[i] = static_cast<int32_t>(i / ranks);
  args.pair_rank[i] = -1;
}

__global__ void __launch_bounds__(kBlock) mark_copies_kernel(DispatchPlan args) {
  const int64_t c = global_thread(), n = c / args.tensor_ranks;
  if (n >= args.entries) return;
  const int64_t expert = args.expert[n];
  const bool travels = expert >= 0 && (args.kept == nullptr || args.kept[n] != 0);
  const int64_t rank = travels ? expert / args.experts_per_rank * args.tensor_ranks + c % args.tensor_ranks : -1;
  args.copy_entry[c] = static_cast<int32_t>(n);
  args.copy_rank[c] = static_cast<int32_t>(rank);
  if (!travels) return;
  const int64_t ranks = args.expert_ranks * args.tensor_ranks;
  atomicExch(args.pair_rank + args.token[n] * ranks + rank, static_cast<int32_t>(rank));
}

__global__ void __launch_bounds__(kBlock) pack_entries_kernel(PackEntries args) {
  const int64_t r = global_thread();
  if (r >= args.rows) return;
  const int64_t c = args.row_entry[r];
  int32_t place = -1, local_expert = -1;
  if (c >= 0) {
    const int64_t n = c / args.tensor_ranks, rank = args.copy_rank[c], ranks = args.expert_ranks * args.tensor_ranks;
    place = args.pair_row[args.token[n] * ranks + rank] - args.pair_start[rank];
    local_expert = static_cast<int32_t>(args.expert[n] % args.experts_per_rank);
  }
  args.payload[2 * r] = place;
  args.payload[2 * r + 1] = local_expert;
}

__global__ void __launch_bounds__(kBlock) unpack_entries_kernel(UnpackEntries args) {
  const int64_t i = global_thread();
  if (i >= args.entries) return;
  const bool received = i < args.entry_start[args.ranks];
  // The sender: the last rank whose entries start at i or before; ranks that sent none share a start with the next.
  int64_t sender = 0;
  for (int64_t after = args.ranks; received && after - sender > 1;) {
    const int64_t middle = (sender + after) / 2;
    if (args.entry_start[middle] <= i) sender = middle;
    else after = middle;
  }
  args.token_out[i] = received ? args.payload[2 * i] + args.row_start[sender] : 0;
  args.expert_out[i] = received ? args.payload[2 * i + 1] : -1;
}

}  // namespace

void dispatch_plan(Cuda ctx, const DispatchPlan& args) {
  SY_KERNEL_CHECK(args.expert_ranks >= 1 && args.tensor_ranks >= 1 && args.experts_per_rank >= 1);
  const int64_t pairs = args.tokens * args.expert_ranks * args.tensor_ranks;
  const int64_t copies = args.entries * args.tensor_ranks;
  SY_KERNEL_CHECK(pairs <= 0x7fffffff && copies <= 0x7fffffff);
  if (pairs > 0) {
    launch(clear_pairs_kernel, grid_for(pairs, kBlock), kBlock, 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
  if (copies > 0) {
    launch(mark_copies_kernel, grid_for(copies, kBlock), kBlock, 0, ctx.stream, args);
    CUDA_CHECK(cudaGetLastError());
  }
}

void pack_entries(Cuda ctx, const PackEntries& args) {
  if (args.rows == 0) return;
  launch(pack_entries_kernel, grid_for(args.rows, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

void unpack_entries(Cuda ctx, const UnpackEntries& args) {
  if (args.entries == 0) return;
  launch(unpack_entries_kernel, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace sy::kernels
