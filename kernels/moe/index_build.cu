// CUDA bodies of the index tables.
//
// By slot: a counting sort over chunks of the entry list. One warp counts a chunk's slots, one block turns the counts
// into segment starts and each chunk's first rows, one warp per chunk ranks its entries 32 at a time in list order. The
// counts of the chunks behind the first one stand in row_token until that table is written: (chunks - 1) * slots <
// entries. By token: integer counts, a scan, placement in any order, then every token sorts its own short list: the
// sorted lists are the same whatever order the placement took.
#include "kernels/moe/index_build.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

// Slot whose segment takes entry n, -1 for holes and dropped entries.
__device__ inline int32_t slot_of(const IndexBuild& args, int64_t n) {
  const int32_t expert = args.expert[n];
  if (expert < 0 || (args.kept != nullptr && args.kept[n] == 0)) return -1;
  return args.slot_of_expert != nullptr ? args.slot_of_expert[expert] : expert;
}

// Where chunk c keeps a number per slot: its counts, then the kept entries of earlier chunks.
__device__ inline int32_t* chunk_table(const IndexBuild& args, int64_t chunk) {
  return chunk == 0 ? args.seg_count : args.row_token + (chunk - 1) * args.slots;
}

__global__ void __launch_bounds__(kWarp) count_slots_kernel(IndexBuild args, int64_t chunk_entries) {
  int32_t* count = dynamic_shared<int32_t>();
  for (int64_t s = lane_of(); s < args.slots; s += kWarp) count[s] = 0;
  __syncwarp();
  const int64_t begin = blockIdx.x * chunk_entries;
  for (int64_t n = begin + lane_of(); n < args.entries && n < begin + chunk_entries; n += kWarp) {
    const int32_t slot = slot_of(args, n);
    if (slot >= 0) atomicAdd(count + slot, 1);
  }
  __syncwarp();
  int32_t* out = chunk_table(args, blockIdx.x);
  for (int64_t s = lane_of(); s < args.slots; s += kWarp) out[s] = count[s];
}

// One block: seg_count, seg_start, row_end, and in the later chunks' tables the entries before the chunk.
__global__ void __launch_bounds__(kBlock) start_slots_kernel(IndexBuild args, int64_t chunks) {
  int64_t rows_before = 0;
  for (int64_t s0 = 0; s0 < args.slots; s0 += kBlock) {
    const int64_t s = s0 + threadIdx.x;
    int32_t count = 0;
    if (s < args.slots) {
      for (int64_t c = 0; c < chunks; ++c) {
        int32_t* table = chunk_table(args, c);
        const int32_t own = table[s];
        if (c > 0) table[s] = count;
        count += own;
      }
      args.seg_count[s] = count;
    }
    const int64_t aligned = (count + args.row_alignment - 1) / args.row_alignment * args.row_alignment;
    int64_t total = 0;
    const int64_t end = rows_before + block_inclusive_scan(aligned, &total);
    if (s < args.slots) args.seg_start[s] = static_cast<int32_t>(end - aligned);
    rows_before += total;
  }
  if (threadIdx.x == 0) *args.row_end = static_cast<int32_t>(rows_before);
}

__global__ void __launch_bounds__(kWarp) rank_entries_kernel(IndexBuild args, int64_t chunk_entries) {
  int32_t* next_row = dynamic_shared<int32_t>();
  for (int64_t s = lane_of(); s < args.slots; s += kWarp)
    next_row[s] = args.seg_start[s] + (blockIdx.x > 0 ? chunk_table(args, blockIdx.x)[s] : 0);
  const int64_t begin = blockIdx.x * chunk_entries;
  for (int64_t n0 = begin; n0 < args.entries && n0 < begin + chunk_entries; n0 += kWarp) {
    __syncwarp();  // the counters of the previous 32 entries are written
    const int64_t n = n0 + lane_of();
    const int32_t slot = n < args.entries && n < begin + chunk_entries ? slot_of(args, n) : -1;
    const unsigned peers = __match_any_sync(kFullMask, slot);
    const int rank = __popc(peers & ((1u << lane_of()) - 1u));
    const int32_t row = slot >= 0 ? next_row[slot] + rank : -1;
    __syncwarp();  // all lanes have read before the last one of each slot advances it
    if (slot >= 0 && (peers >> lane_of()) == 1u) next_row[slot] = row + 1;
    if (n < args.entries && n < begin + chunk_entries) args.entry_row[n] = row;
  }
}

__global__ void __launch_bounds__(kBlock) clear_rows_kernel(IndexBuild args) {
  const int64_t r = global_thread();
  if (r >= args.rows) return;
  args.row_entry[r] = -1;
  args.row_token[r] = -1;
}

__global__ void __launch_bounds__(kBlock) fill_rows_kernel(IndexBuild args) {
  const int64_t n = global_thread();
  if (n >= args.entries || args.entry_row[n] < 0) return;
  args.row_entry[args.entry_row[n]] = static_cast<int32_t>(n);
  args.row_token[args.entry_row[n]] = args.token[n];
}

// token_start[t + 2] counts token t, so that after the scan token_start[t + 1] starts token t and, once the placement
// has advanced it over the token's entries, starts token t + 1. The last token's count is not needed.
__global__ void __launch_bounds__(kBlock) count_tokens_kernel(IndexBuild args) {
  const int64_t n = global_thread();
  if (n >= args.entries || args.expert[n] < 0) return;
  if (args.token[n] + 2 <= args.tokens) atomicAdd(args.token_start + args.token[n] + 2, 1);
}

__global__ void __launch_bounds__(1024) scan_tokens_kernel(int32_t* token_start, int64_t count) {
  int32_t before = 0;
  for (int64_t i0 = 0; i0 < count; i0 += blockDim.x) {
    const int64_t i = i0 + threadIdx.x;
    int32_t total = 0;
    const int32_t sum = block_inclusive_scan(i < count ? token_start[i] : 0, &total);
    if (i < count) token_start[i] = before + sum;
    before += total;
  }
}

__global__ void __launch_bounds__(kBlock) place_by_token_kernel(IndexBuild args) {
  const int64_t n = global_thread();
  if (n >= args.entries || args.expert[n] < 0) return;
  args.token_entry[atomicAdd(args.token_start + args.token[n] + 1, 1)] = static_cast<int32_t>(n);
}

__global__ void __launch_bounds__(kBlock) sort_token_lists_kernel(IndexBuild args) {
  const int64_t t = global_thread();
  if (t >= args.tokens) return;
  int32_t* list = args.token_entry + args.token_start[t];
  const int32_t count = args.token_start[t + 1] - args.token_start[t];
  for (int32_t i = 1; i < count; ++i) {
    const int32_t entry = list[i];
    int32_t place = i;
    for (; place > 0 && list[place - 1] > entry; --place) list[place] = list[place - 1];
    list[place] = entry;
  }
}

__global__ void __launch_bounds__(kBlock) expert_count_kernel(ExpertCount args) {
  const int64_t n = global_thread();
  if (n >= args.entries || args.expert[n] < 0 || (args.kept != nullptr && args.kept[n] == 0)) return;
  atomicAdd(reinterpret_cast<unsigned long long*>(args.count) + args.expert[n], 1ull);
}

void sort_by_slot(Cuda ctx, const IndexBuild& args) {
  // At least as many entries as slots, so that the tables fit (see above); at least 1024 to keep the tables short.
  const int64_t chunk = ceil_div(args.slots > 1024 ? args.slots : 1024, kWarp) * kWarp;
  const int64_t chunks = args.entries == 0 ? 1 : ceil_div(args.entries, chunk);
  const size_t table_bytes = static_cast<size_t>(args.slots) * sizeof(int32_t);
  launch(count_slots_kernel, grid_for(chunks, 1), kWarp, table_bytes, ctx.stream, args, chunk);
  CUDA_CHECK(cudaGetLastError());
  launch(start_slots_kernel, dim3(1), kBlock, 0, ctx.stream, args, chunks);
  CUDA_CHECK(cudaGetLastError());
  launch(rank_entries_kernel, grid_for(chunks, 1), kWarp, table_bytes, ctx.stream, args, chunk);
  CUDA_CHECK(cudaGetLastError());
  if (args.rows == 0) return;
  launch(clear_rows_kernel, grid_for(args.rows, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
  if (args.entries == 0) return;
  launch(fill_rows_kernel, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

void sort_by_token(Cuda ctx, const IndexBuild& args) {
  cudaStream_t stream = static_cast<cudaStream_t>(ctx.stream);
  const size_t start_bytes = static_cast<size_t>(args.tokens + 1) * sizeof(int32_t);
  CUDA_CHECK(cudaMemsetAsync(args.token_start, 0, start_bytes, stream));
  if (args.entries == 0) return;
  // The places behind the last list, as many as there are holes, keep -1.
  CUDA_CHECK(cudaMemsetAsync(args.token_entry, 0xff, static_cast<size_t>(args.entries) * sizeof(int32_t), stream));
  if (args.tokens == 0) return;
  launch(count_tokens_kernel, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
  launch(scan_tokens_kernel, dim3(1), dim3(1024), 0, ctx.stream, args.token_start, args.tokens + 1);
  CUDA_CHECK(cudaGetLastError());
  launch(place_by_token_kernel, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
  launch(sort_token_lists_kernel, grid_for(args.tokens, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void index_build(Cuda ctx, const IndexBuild& args) {
  SY_KERNEL_CHECK(args.row_alignment >= 1 && args.slots >= 1);
  SY_KERNEL_CHECK(args.entries <= 0x7fffffff && args.rows <= 0x7fffffff);
  SY_KERNEL_CHECK(args.rows >= index_build_rows(args.entries, args.slots, args.row_alignment));
  SY_KERNEL_CHECK(args.slot_of_expert != nullptr || args.experts <= args.slots);
  sort_by_slot(ctx, args);
  sort_by_token(ctx, args);
}

void expert_count(Cuda ctx, const ExpertCount& args) {
  if (args.experts == 0) return;
  CUDA_CHECK(cudaMemsetAsync(args.count, 0, static_cast<size_t>(args.experts) * sizeof(int64_t),
                             static_cast<cudaStream_t>(ctx.stream)));
  if (args.entries == 0) return;
  launch(expert_count_kernel, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace sy::kernels
