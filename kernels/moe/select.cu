// CUDA bodies of the selectors, all built on the strict total order of rank_order.h (descending, NaN last, ties to the
// lower id).
//
// Per token: one warp picks again and again the best candidate that ranks below the previous pick, which needs no
// record of what was taken. Expert choice: a token's place among its group is the number of tokens that rank above it,
// counted.
#include "kernels/moe/select.h"

#include "kernels/cuda/reduce.cuh"
#include "kernels/moe/rank_order.h"

namespace sy::kernels {
namespace {

using namespace cuda;

// The candidate that ranks highest over the warp; id -1 stands for none.
template <class A>
__device__ inline Ranked<A> best_of_warp(Ranked<A> best) {
  for (int d = kWarp / 2; d > 0; d /= 2) {
    const Ranked<A> other{__shfl_xor_sync(kFullMask, best.value, d), __shfl_xor_sync(kFullMask, best.id, d)};
    if (best.id < 0 || (other.id >= 0 && ranks_above(other, best))) best = other;
  }
  return best;
}

// The best of candidates 0 .. count-1 that ranks below `previous` (id -1: none yet); value(id) and allowed(id) describe
// them.
template <class A, class Value, class Allowed>
__device__ inline Ranked<A> next_best(int64_t count, const Ranked<A>& previous, Value value, Allowed allowed) {
  Ranked<A> best{A(0), -1};
  for (int64_t i = lane_of(); i < count; i += kWarp) {
    if (!allowed(i)) continue;
    const Ranked<A> candidate{value(i), static_cast<int32_t>(i)};
    if (previous.id >= 0 && !ranks_above(previous, candidate)) continue;
    if (best.id < 0 || ranks_above(candidate, best)) best = candidate;
  }
  return best_of_warp(best);
}

// Dynamic shared memory, with groups: per warp the groups' scores, then a flag per group.
template <class A>
__global__ void __launch_bounds__(kBlock) topk_select_kernel(TopkSelect<A> args) {
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  const int64_t groups = args.groups, members = args.experts / groups;
  const auto biased = [&](int64_t e) {
    return args.bias != nullptr ? args.score[t * args.experts + e] + args.bias[e] : args.score[t * args.experts + e];
  };
  const auto any = [](int64_t) { return true; };
  const A* group_flag = nullptr;
  if (groups > 1) {
    A* group_score = dynamic_shared<A>() + warp_of() * 2 * groups;
    A* flag = group_score + groups;
    group_flag = flag;
    for (int64_t g = 0; g < groups; ++g) {
      Ranked<A> pick{A(0), -1};
      A sum = 0;
      for (int64_t i = 0; i < args.group_top && i < members; ++i) {
        pick = next_best(
            members, pick, [&](int64_t m) { return biased(g * members + m); }, any);
        sum += pick.value;
      }
      if (lane_of() == 0) group_score[g] = sum, flag[g] = A(0);
    }
    __syncwarp();
    Ranked<A> group{A(0), -1};
    for (int64_t i = 0; i < args.groups_kept; ++i) {
      group = next_best(
          groups, group, [&](int64_t g) { return group_score[g]; }, any);
      if (lane_of() == 0) flag[group.id] = A(1);
    }
    __syncwarp();
  }
  Ranked<A> pick{A(0), -1};
  for (int64_t i = 0; i < args.k; ++i) {
    pick = next_best(args.experts, pick, biased,
                     [&](int64_t e) { return group_flag == nullptr || group_flag[e / members] != A(0); });
    if (lane_of() == 0) {
      args.token[t * args.k + i] = static_cast<int32_t>(t);
      args.expert[t * args.k + i] = pick.id;
    }
  }
}

template <class A>
__global__ void __launch_bounds__(kBlock) top_p_select_kernel(TopPSelect<A> args) {
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  Ranked<A> pick{A(0), -1};
  A sum = 0;
  bool open = true;  // the prefix has not reached p yet
  for (int64_t i = 0; i < args.max_per_token; ++i) {
    open = open && i < args.experts;
    if (open)
      pick = next_best(
          args.experts, pick, [&](int64_t e) { return args.probability[t * args.experts + e]; },
          [](int64_t) { return true; });
    if (lane_of() == 0) {
      args.token[t * args.max_per_token + i] = open ? static_cast<int32_t>(t) : -1;
      args.expert[t * args.max_per_token + i] = open ? pick.id : -1;
    }
    if (!open) continue;
    sum += pick.value;
    open = !(static_cast<double>(sum) > args.p);
  }
}

// One block per (expert, group); scores of the group pass through shared memory in pieces of one per thread.
template <class A>
__global__ void __launch_bounds__(kBlock) expert_choice_select_kernel(ExpertChoiceSelect<A> args) {
  __shared__ A piece[kBlock];
  const int64_t expert = blockIdx.x, group = blockIdx.y, first = group * args.group_tokens;
  const int64_t entry = (group * args.experts + expert) * args.capacity;
  const auto score = [&](int64_t i) { return args.score[(first + i) * args.experts + expert]; };
  for (int64_t i0 = 0; i0 < args.group_tokens; i0 += kBlock) {
    const int64_t i = i0 + threadIdx.x;
    const bool mine = i < args.group_tokens;
    const Ranked<A> own{mine ? score(i) : A(0), static_cast<int32_t>(i)};
    int64_t above = 0;
    for (int64_t j0 = 0; j0 < args.group_tokens; j0 += kBlock) {
      __syncthreads();
      if (j0 + threadIdx.x < args.group_tokens) piece[threadIdx.x] = score(j0 + threadIdx.x);
      __syncthreads();
      for (int64_t j = j0; j < j0 + kBlock && j < args.group_tokens; ++j)
        above += ranks_above(Ranked<A>{piece[j - j0], static_cast<int32_t>(j)}, own);
    }
    if (!mine || above >= args.capacity) continue;
    args.token[entry + above] = static_cast<int32_t>(first + i);
    args.expert[entry + above] = static_cast<int32_t>(expert);
  }
  for (int64_t r = args.group_tokens + threadIdx.x; r < args.capacity; r += kBlock)
    args.token[entry + r] = args.expert[entry + r] = -1;
}

}  // namespace

template <class A>
void topk_select(Cuda ctx, const TopkSelect<A>& args) {
  if (args.tokens == 0 || args.k == 0) return;
  const bool grouped = args.groups > 1;
  SY_KERNEL_CHECK(args.groups >= 1 && args.experts % args.groups == 0);
  SY_KERNEL_CHECK(!grouped || (args.groups_kept >= 1 && args.groups_kept <= args.groups && args.group_top >= 1));
  SY_KERNEL_CHECK(args.k > 0 && args.k <= (grouped ? args.groups_kept * (args.experts / args.groups) : args.experts));
  const size_t shared_bytes = grouped ? static_cast<size_t>(kRowsPerBlock * 2 * args.groups) * sizeof(A) : 0;
  launch(topk_select_kernel<A>, grid_for(args.tokens, kRowsPerBlock), kBlock, shared_bytes, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void top_p_select(Cuda ctx, const TopPSelect<A>& args) {
  if (args.tokens == 0 || args.max_per_token == 0) return;
  launch(top_p_select_kernel<A>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class A>
void expert_choice_select(Cuda ctx, const ExpertChoiceSelect<A>& args) {
  if (args.tokens == 0 || args.experts == 0 || args.capacity == 0) return;
  SY_KERNEL_CHECK(args.capacity > 0 && args.group_tokens > 0 && args.tokens % args.group_tokens == 0);
  const dim3 grid(static_cast<unsigned>(args.experts), static_cast<unsigned>(args.tokens / args.group_tokens));
  launch(expert_choice_select_kernel<A>, grid, kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(A)                                 \
  template void topk_select(Cuda, const TopkSelect<A>&);  \
  template void top_p_select(Cuda, const TopPSelect<A>&); \
  template void expert_choice_select(Cuda, const ExpertChoiceSelect<A>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
