// CUDA body of the capacity limit.
//
// Each entry counts the entries that come before it in the total order of its group: those of its own expert decide
// whether it is kept, all of them give its place in the group's queue. With next_choice one warp per group then walks
// the queue and moves the dropped entries, which is sequential by its definition. No order depends on thread timing.
#include "kernels/moe/capacity.h"

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/scratch.cuh"
#include "kernels/moe/rank_order.h"

namespace sy::kernels {
namespace {

using namespace cuda;

// What decides an entry's turn: rank pass first, then key descending, then token, rank and entry index ascending.
template <class A>
struct Turn {
  A key;
  int32_t group, pass, token, rank, entry, expert;  // expert -1: a hole, which has no turn
};

template <class A>
__device__ inline bool comes_before(const Turn<A>& a, const Turn<A>& b) {
  if (a.pass != b.pass) return a.pass < b.pass;
  if (a.token != b.token) return ranks_above(Ranked<A>{a.key, a.token}, Ranked<A>{b.key, b.token});
  // One token twice: kScore still compares the pairs' scores; the other keys are the token's own and tie here.
  const Ranked<A> first{a.key, 0}, second{b.key, 0};
  if (ranks_above(first, second)) return true;
  if (ranks_above(second, first)) return false;
  return a.rank != b.rank ? a.rank < b.rank : a.entry < b.entry;
}

// Largest selected score of each token; NaN only if the token has no other. One warp per token.
template <class A>
__global__ void __launch_bounds__(kBlock) best_score_kernel(CapacityLimit<A> args, A* best) {
  const int64_t t = warp_row();
  if (t >= args.tokens) return;
  Ranked<A> own{A(0), -1};  // id: 0 once a score was seen
  const auto take = [&](A score) {
    if (own.id < 0 || ranks_above(Ranked<A>{score, 0}, own)) own = {score, 0};
  };
  for (int64_t n = lane_of(); n < args.entries; n += kWarp)
    if (args.expert[n] >= 0 && args.token[n] == t) take(args.score[t * args.experts + args.expert[n]]);
  for (int d = kWarp / 2; d > 0; d /= 2) {
    const A other = __shfl_xor_sync(kFullMask, own.value, d);
    if (__shfl_xor_sync(kFullMask, own.id, d) == 0) take(other);
  }
  if (lane_of() == 0) best[t] = own.value;
}

template <class A>
__global__ void __launch_bounds__(kBlock) make_turns_kernel(CapacityLimit<A> args, const A* best, Turn<A>* turns) {
  const int64_t n = global_thread();
  if (n >= args.entries) return;
  const int32_t t = args.token[n], e = args.expert[n], rank = static_cast<int32_t>(n % args.per_token);
  A key = 0;
  if (e >= 0 && args.order == CapacityOrder::kScore) key = args.score[t * args.experts + e];
  if (e >= 0 && args.order == CapacityOrder::kRandom) key = -args.priority[t];
  if (e >= 0 && args.order == CapacityOrder::kTokenScore) key = best[t];
  // Batch priority puts tokens before ranks: one pass.
  const int32_t pass = args.order == CapacityOrder::kTokenScore ? 0 : rank;
  const int32_t group = e < 0 ? -1 : static_cast<int32_t>(t / args.group_tokens);
  turns[n] = {key, group, pass, t, rank, static_cast<int32_t>(n), e};
}

// kept, and with `queue` the entries sorted by (group, turn). Turns pass through shared memory in pieces.
template <class A>
__global__ void __launch_bounds__(kBlock)
    count_before_kernel(CapacityLimit<A> args, const Turn<A>* turns, int32_t* queue) {
  __shared__ Turn<A> piece[kBlock];
  const int64_t n = global_thread();
  const bool mine = n < args.entries && turns[n].expert >= 0;
  const Turn<A> own = mine ? turns[n] : Turn<A>{A(0), -1, 0, 0, 0, 0, -1};
  int64_t same_expert = 0, place = 0;
  for (int64_t j0 = 0; j0 < args.entries; j0 += kBlock) {
    __syncthreads();
    if (j0 + threadIdx.x < args.entries) piece[threadIdx.x] = turns[j0 + threadIdx.x];
    __syncthreads();
    for (int64_t j = 0; mine && j < kBlock && j0 + j < args.entries; ++j) {
      const Turn<A>& other = piece[j];
      if (other.expert < 0 || other.group > own.group) continue;
      const bool before = other.group < own.group || comes_before(other, own);
      place += before;
      same_expert += before && other.group == own.group && other.expert == own.expert;
    }
  }
  if (n < args.entries) args.kept[n] = mine && same_expert < args.capacity;
  if (mine && queue != nullptr) queue[place] = static_cast<int32_t>(n);
}

// One warp per group. Dynamic shared memory: the free places of every expert.
template <class A>
__global__ void __launch_bounds__(kWarp)
    next_choice_kernel(CapacityLimit<A> args, const Turn<A>* turns, const int32_t* queue) {
  int64_t* room = dynamic_shared<int64_t>();
  const int32_t group = static_cast<int32_t>(blockIdx.x);
  // The group's part of the queue: holes are not in it, groups follow each other.
  int64_t begin = 0, count = 0;
  for (int64_t n = lane_of(); n < args.entries; n += kWarp) {
    begin += turns[n].expert >= 0 && turns[n].group < group;
    count += turns[n].expert >= 0 && turns[n].group == group;
  }
  begin = warp_sum(begin), count = warp_sum(count);
  for (int64_t e = lane_of(); e < args.experts; e += kWarp) room[e] = args.capacity;
  __syncwarp();
  if (lane_of() == 0)
    for (int64_t i = begin; i < begin + count; ++i)
      if (args.kept[queue[i]] != 0) --room[args.expert[queue[i]]];
  __syncwarp();
  for (int64_t i = begin; i < begin + count; ++i) {
    const int32_t n = queue[i];
    if (args.kept[n] != 0) continue;
    const int32_t token = args.token[n];
    Ranked<A> best{A(0), -1};
    for (int64_t e0 = 0; e0 < args.experts; e0 += kWarp) {
      const int64_t e = e0 + lane_of();
      if (e >= args.experts || room[e] == 0) continue;
      const Ranked<A> candidate{args.score[token * args.experts + e], static_cast<int32_t>(e)};
      if (best.id >= 0 && !ranks_above(candidate, best)) continue;
      bool held = false;
      for (int64_t j = begin; j < begin + count; ++j)
        held |= args.token[queue[j]] == token && args.expert[queue[j]] == e;
      if (!held) best = candidate;
    }
    for (int d = kWarp / 2; d > 0; d /= 2) {
      const Ranked<A> other{__shfl_xor_sync(kFullMask, best.value, d), __shfl_xor_sync(kFullMask, best.id, d)};
      if (best.id < 0 || (other.id >= 0 && ranks_above(other, best))) best = other;
    }
    __syncwarp();  // all lanes have read what lane 0 changes; shuffles order no memory
    if (lane_of() == 0 && best.id >= 0) {
      --room[best.id];
      args.expert[n] = best.id;
      args.kept[n] = 1;
    }
    __syncwarp();  // the other lanes see the new holder and the smaller room
  }
}

}  // namespace

template <class A>
void capacity_limit(Cuda ctx, const CapacityLimit<A>& args) {
  if (args.entries == 0) return;
  if (args.tokens == 0) {
    CUDA_CHECK(cudaMemsetAsync(args.kept, 0, static_cast<size_t>(args.entries), static_cast<cudaStream_t>(ctx.stream)));
    return;
  }
  const bool by_score = args.order == CapacityOrder::kScore || args.order == CapacityOrder::kTokenScore;
  SY_KERNEL_CHECK(args.per_token >= 1 && args.group_tokens >= 1 && args.capacity >= 0);
  SY_KERNEL_CHECK(args.score != nullptr || !(by_score || args.next_choice));
  SY_KERNEL_CHECK(args.priority != nullptr || args.order != CapacityOrder::kRandom);
  const bool by_token_score = args.order == CapacityOrder::kTokenScore;
  const Scratch<A> best(by_token_score ? args.tokens : 0, ctx.stream);
  const Scratch<Turn<A>> turns(args.entries, ctx.stream);
  const Scratch<int32_t> queue(args.next_choice ? args.entries : 0, ctx.stream);
  if (by_token_score) {
    launch(best_score_kernel<A>, grid_for(args.tokens, kRowsPerBlock), kBlock, 0, ctx.stream, args, best.get());
    CUDA_CHECK(cudaGetLastError());
  }
  launch(make_turns_kernel<A>, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args, best.get(), turns.get());
  CUDA_CHECK(cudaGetLastError());
  launch(count_before_kernel<A>, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args, turns.get(), queue.get());
  CUDA_CHECK(cudaGetLastError());
  if (!args.next_choice) return;
  launch(next_choice_kernel<A>, grid_for(args.tokens, args.group_tokens), kWarp,
         static_cast<size_t>(args.experts) * sizeof(int64_t), ctx.stream, args, turns.get(), queue.get());
  CUDA_CHECK(cudaGetLastError());
}

template void capacity_limit(Cuda, const CapacityLimit<float>&);
template void capacity_limit(Cuda, const CapacityLimit<double>&);

}  // namespace sy::kernels
