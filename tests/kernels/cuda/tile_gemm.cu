// Warpgroup 0 loads: one of its threads fills a ring of stages by bulk copies. Warpgroups 1 and 2 multiply: each owns
// 64 rows of the tile, keeps one product of a stage in flight, hands back the stage before it, and writes its rows
// through shared memory as one bulk store per 64 columns.
#include "tests/kernels/cuda/tile_gemm.h"

#include "kernels/cuda/hopper/matrix_rows.cuh"
#include "kernels/cuda/hopper/mbarrier.cuh"
#include "kernels/cuda/hopper/tensor_copy.cuh"
#include "kernels/cuda/hopper/tensor_map.cuh"
#include "kernels/cuda/hopper/warpgroup.cuh"
#include "kernels/cuda/hopper/wgmma.cuh"

namespace sy::test {
namespace {

using namespace kernels::cuda;

constexpr int kTileM = 128, kTileN = 128, kTileK = 64, kThreads = 384;
constexpr uint32_t kStages = 4;
constexpr uint32_t kOperandBytes = 128 * kTileK * sizeof(bf16), kStageBytes = 2 * kOperandBytes;
constexpr uint32_t kHalfBytes = 64 * 64 * sizeof(bf16);  // 64 rows x 64 columns of C
constexpr uint32_t kOutput = kStages * kStageBytes, kBarriers = kOutput + 4 * kHalfBytes;
constexpr uint32_t kSharedBytes = kBarriers + 2 * kStages * sizeof(uint64_t);

// Where iteration q of the ring stands.
struct Stage {
  uint32_t tiles, full, empty, parity;
};
__device__ __forceinline__ Stage stage_of(uint32_t shared, uint32_t q) {
  const uint32_t s = q % kStages, barriers = shared + kBarriers + 16 * s;
  return {shared + s * kStageBytes, barriers, barriers + 8, q / kStages & 1};
}

// One warpgroup's 64 rows of C, whose first is `row`.
__device__ __forceinline__ void write_rows(const float (&acc)[kTileN / 2], uint32_t output, const CUtensorMap* map,
                                           int column, int row, int barrier) {
  const bool stores = threadIdx.x % 128 == 0;
  if (stores) bulk_wait_read<0>();
  named_barrier_sync(barrier, 128);
  const uint32_t lane = threadIdx.x % 32, in_tile = threadIdx.x % 128 / 32 * 16 + lane % 16;
#pragma unroll
  for (uint32_t j = 0; j < kTileN / 16; ++j) {
    uint32_t packed[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) packed[r] = pack_bf16(acc[8 * j + 2 * r], acc[8 * j + 2 * r + 1]);
    const uint32_t chunk = j % 4 * 2 + lane / 16;
    store_matrices(output + j / 4 * kHalfBytes + in_tile * 128 + 16 * (chunk ^ (in_tile % 8)), packed);
  }
  fence_async_shared();
  named_barrier_sync(barrier, 128);
  if (stores) {
    tensor_store(map, output, column, row);
    tensor_store(map, output + kHalfBytes, column + 64, row);
    bulk_commit();
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    tile_gemm_kernel(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                     const __grid_constant__ CUtensorMap c_map, int row_tiles, int num_tiles, int k_blocks) {
  const uint32_t shared = shared_address(dynamic_shared<unsigned char>());
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    for (uint32_t s = 0; s < kStages; ++s) {
      mbarrier_init(stage_of(shared, s).full, 1);
      mbarrier_init(stage_of(shared, s).empty, 2);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  uint32_t q = 0;
  if (group == 0) {
    release_registers<40>();
    if (threadIdx.x / 32 != 0 || !elect_one()) return;
    for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles; tile += static_cast<int>(gridDim.x))
      for (int k = 0; k < k_blocks; ++k, ++q) {
        const Stage stage = stage_of(shared, q);
        mbarrier_wait(stage.empty, stage.parity ^ 1);
        mbarrier_arrive_expect_tx(stage.full, kStageBytes);
        tensor_load(stage.tiles, &a_map, stage.full, k * kTileK, tile % row_tiles * kTileM);
        tensor_load(stage.tiles + kOperandBytes, &b_map, stage.full, k * kTileK, tile / row_tiles * kTileN);
      }
    return;
  }
  claim_registers<232>();
  const uint32_t own_rows = static_cast<uint32_t>(group - 1) * 64;
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles; tile += static_cast<int>(gridDim.x)) {
    float acc[kTileN / 2];
    for (int k = 0; k < k_blocks; ++k, ++q) {
      const Stage stage = stage_of(shared, q);
      mbarrier_wait(stage.full, stage.parity);
      const uint64_t a = k_major_descriptor<128>(stage.tiles + own_rows * 128);
      const uint64_t b = k_major_descriptor<128>(stage.tiles + kOperandBytes);
      keep_in_registers(acc);
      wgmma_fence();
#pragma unroll
      for (uint32_t s = 0; s < kTileK / 16; ++s) {
        constexpr uint32_t kStep = k_step_bytes<128, Major::kK>;
        wgmma<kTileN>(acc, advance(a, s * kStep), advance(b, s * kStep), k > 0 || s > 0);
      }
      wgmma_commit();
      keep_in_registers(acc);
      wgmma_wait<1>();
      if (k > 0 && threadIdx.x % 128 == 0) mbarrier_arrive(stage_of(shared, q - 1).empty);
    }
    keep_in_registers(acc);
    wgmma_wait<0>();
    keep_in_registers(acc);
    if (threadIdx.x % 128 == 0) mbarrier_arrive(stage_of(shared, q - 1).empty);
    write_rows(acc, shared + kOutput + own_rows * 2 * 128, &c_map, tile / row_tiles * kTileN,
               tile % row_tiles * kTileM + static_cast<int>(own_rows), group);
  }
  if (threadIdx.x % 128 == 0) bulk_wait_read<0>();
}

}  // namespace

void tile_gemm(kernels::Cuda ctx, const TileGemm& args) {
  const int64_t row_tiles = ceil_div(args.m, kTileM), num_tiles = row_tiles * ceil_div(args.n, kTileN);
  launch(tile_gemm_kernel, dim3(static_cast<unsigned>(args.num_blocks)), dim3(kThreads), kSharedBytes, ctx.stream,
         matrix_map(args.a, args.m, args.k, kTileM), matrix_map(args.b, args.n, args.k, kTileN),
         matrix_map(args.c, args.m, args.n, 64), row_tiles, num_tiles, ceil_div(args.k, kTileK));
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace sy::test
