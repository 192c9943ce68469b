#include "tests/kernels/cuda/hopper_kernels.h"

#include "kernels/cuda/hopper/copy_async.cuh"
#include "kernels/cuda/hopper/matrix_rows.cuh"
#include "kernels/cuda/hopper/mbarrier.cuh"
#include "kernels/cuda/hopper/tensor_copy.cuh"
#include "kernels/cuda/hopper/tensor_map.cuh"
#include "kernels/cuda/hopper/warpgroup.cuh"
#include "kernels/cuda/hopper/wgmma.cuh"

namespace sy::test {
namespace {

using namespace kernels::cuda;

constexpr uint32_t kTileBytes = 64 * 64 * sizeof(bf16);
constexpr uint32_t kBarrierBytes = 1024;  // the barrier stands before the tiles, which start at multiples of this

__global__ void box_copy_kernel(const __grid_constant__ CUtensorMap from, const __grid_constant__ CUtensorMap to, int x,
                                int y, bool add) {
  const uint32_t barrier = shared_address(dynamic_shared<unsigned char>()), tile = barrier + kBarrierBytes;
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&from);
    mbarrier_init(barrier, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  if (elect_one()) {
    mbarrier_arrive_expect_tx(barrier, 2 * kTileBytes);
    tensor_load(tile, &from, barrier, x, y);
    mbarrier_wait(barrier, 0);
    if (add) tensor_add(&to, tile, x, y);
    else tensor_store(&to, tile, x, y);
    bulk_commit();
    bulk_wait<0>();
  }
}

// Descriptor of step s of 16 of k, of a tile of 64 x 64 that boxes of `kSpan` bytes a row filled.
template <int kSpan, Major kMajor>
__device__ __forceinline__ uint64_t step_descriptor(uint32_t tile, uint32_t s) {
  constexpr uint32_t kBoxBytes = 64 * kSpan;
  if constexpr (kMajor == Major::kMn) {
    return advance(mn_major_descriptor<kSpan>(tile, kBoxBytes), s * k_step_bytes<kSpan, kMajor>);
  } else {
    constexpr uint32_t kSteps = kSpan / 32;
    return advance(k_major_descriptor<kSpan>(tile), s / kSteps * kBoxBytes + s % kSteps * k_step_bytes<kSpan, kMajor>);
  }
}

// Accumulators of 64 x 64 by one warpgroup to global memory.
__device__ __forceinline__ void write_accumulators(const float (&acc)[32], float* d) {
  const int t = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int row = 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * (t % 4) + i % 2;
    d[row * 64 + column] = acc[i];
  }
}

template <int kSpan, Major kMajorA, Major kMajorB>
__global__ void __launch_bounds__(128, 1) tile_product_kernel(const __grid_constant__ CUtensorMap a_map,
                                                              const __grid_constant__ CUtensorMap b_map, float* d) {
  const uint32_t barrier = shared_address(dynamic_shared<unsigned char>());
  const uint32_t a = barrier + kBarrierBytes, b = a + kTileBytes;
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(barrier, 2 * kTileBytes);
    for (int x = 0; x < 64; x += kSpan / 2) {
      tensor_load(a + static_cast<uint32_t>(x) * 128, &a_map, barrier, x, 0);
      tensor_load(b + static_cast<uint32_t>(x) * 128, &b_map, barrier, x, 0);
    }
  }
  __syncthreads();
  mbarrier_wait(barrier, 0);
  float acc[32];
  keep_in_registers(acc);
  wgmma_fence();
#pragma unroll
  for (uint32_t s = 0; s < 4; ++s)
    wgmma<64, kMajorA, kMajorB>(acc, step_descriptor<kSpan, kMajorA>(a, s), step_descriptor<kSpan, kMajorB>(b, s),
                                s > 0);
  wgmma_commit();
  keep_in_registers(acc);
  wgmma_wait<0>();
  write_accumulators(acc, d);
}

__global__ void __launch_bounds__(128, 1)
    gathered_product_kernel(const bf16* table, const int* rows, const __grid_constant__ CUtensorMap b_map, float* d) {
  const uint32_t barrier = shared_address(dynamic_shared<unsigned char>());
  const uint32_t a = barrier + kBarrierBytes, b = a + kTileBytes;
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 129);  // 128 gathering threads and the copy of B
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect_tx(barrier, kTileBytes);
    tensor_load(b, &b_map, barrier, 0, 0);
  }
  const int t = static_cast<int>(threadIdx.x), row = t / 2, source = rows[row];
  for (int chunk = t % 2; chunk < 8; chunk += 2)
    copy_async_16(a + static_cast<uint32_t>(row * 128 + 16 * (chunk ^ (row % 8))),
                  table + (source < 0 ? 0 : static_cast<int64_t>(source) * 64 + 8 * chunk), source < 0 ? 0 : 16);
  copy_async_arrive_noinc(barrier);
  mbarrier_wait(barrier, 0);
  fence_async_shared();
  float acc[32];
  keep_in_registers(acc);
  wgmma_fence();
#pragma unroll
  for (uint32_t s = 0; s < 4; ++s)
    wgmma<64>(acc, step_descriptor<128, Major::kK>(a, s), step_descriptor<128, Major::kK>(b, s), s > 0);
  wgmma_commit();
  keep_in_registers(acc);
  wgmma_wait<0>();
  write_accumulators(acc, d);
}

__global__ void transpose_kernel(const bf16* x, bf16* y) {
  auto* row = dynamic_shared<bf16>() + threadIdx.x * 8;
  for (int i = 0; i < 8; ++i) row[i] = x[threadIdx.x * 8 + i];
  __syncwarp();
  uint32_t matrices[4];
  load_matrices<true>(matrices, shared_address(row));
  store_matrices(shared_address(row), matrices);
  __syncwarp();
  for (int i = 0; i < 8; ++i) y[threadIdx.x * 8 + i] = row[i];
}

__global__ void __launch_bounds__(384, 1) take_turns_kernel(int* turns, int* length) {
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group == 2) {
    release_registers<40>();
    return;
  }
  claim_registers<232>();
  if (group == 1) named_barrier_arrive(1, 256);
  for (int turn = 0; turn < 3; ++turn) {
    named_barrier_sync(1 + group, 256);
    if (threadIdx.x % 128 < 32 && elect_one()) turns[(*length)++] = group;
    __threadfence_block();
    if (turn < 2 || group == 0) named_barrier_arrive(2 - group, 256);
  }
}

__global__ void chain_kernel(int* values, int64_t count) {
  start_dependent_kernels();
  wait_for_earlier_kernels();
  const int64_t i = global_thread();
  if (i < count) values[i] = 3 * values[i] + 1;
}

template <int kSpan>
void launch_tile_product(kernels::Cuda ctx, const TileProduct& args) {
  constexpr Major kK = Major::kK, kMn = Major::kMn;
  auto* kernel = args.a_k_major
                     ? (args.b_k_major ? tile_product_kernel<kSpan, kK, kK> : tile_product_kernel<kSpan, kK, kMn>)
                     : (args.b_k_major ? tile_product_kernel<kSpan, kMn, kK> : tile_product_kernel<kSpan, kMn, kMn>);
  launch(kernel, dim3(1), dim3(128), kBarrierBytes + 2 * kTileBytes, ctx.stream, matrix_map(args.a, 64, 64, 64, kSpan),
         matrix_map(args.b, 64, 64, 64, kSpan), args.d);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void box_copy(kernels::Cuda ctx, const BoxCopy& args) {
  launch(box_copy_kernel, dim3(1), dim3(32), kBarrierBytes + 2 * kTileBytes, ctx.stream,
         matrix_map(args.from, args.rows, args.columns, 128, 128),
         matrix_map(args.to, args.rows, args.columns, 128, 128), args.column, args.row, args.add);
  CUDA_CHECK(cudaGetLastError());
}

void tile_product(kernels::Cuda ctx, const TileProduct& args) {
  if (args.span == 128) return launch_tile_product<128>(ctx, args);
  if (args.span == 64) return launch_tile_product<64>(ctx, args);
  launch_tile_product<32>(ctx, args);
}

void gathered_product(kernels::Cuda ctx, const GatheredProduct& args) {
  launch(gathered_product_kernel, dim3(1), dim3(128), kBarrierBytes + 2 * kTileBytes, ctx.stream, args.table, args.rows,
         matrix_map(args.b, 64, 64, 64, 128), args.d);
  CUDA_CHECK(cudaGetLastError());
}

void transpose_matrices(kernels::Cuda ctx, const bf16* x, bf16* y) {
  launch(transpose_kernel, dim3(1), dim3(32), 32 * 8 * sizeof(bf16), ctx.stream, x, y);
  CUDA_CHECK(cudaGetLastError());
}

void take_turns(kernels::Cuda ctx, int* turns, int* length) {
  launch(take_turns_kernel, dim3(1), dim3(384), 0, ctx.stream, turns, length);
  CUDA_CHECK(cudaGetLastError());
}

void chain_of_early_kernels(kernels::Cuda ctx, int* values, int64_t count, int kernels) {
  for (int i = 0; i < kernels; ++i) {
    launch_early(chain_kernel, grid_for(count, kBlock), kBlock, 0, ctx.stream, values, count);
    CUDA_CHECK(cudaGetLastError());
  }
}

}  // namespace sy::test
