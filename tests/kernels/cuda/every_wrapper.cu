// Calls every wrapper of kernels/cuda/hopper once, every width of wgmma included, for the assembler: nobody runs this.
#include "kernels/cuda/hopper/copy_async.cuh"
#include "kernels/cuda/hopper/matrix_rows.cuh"
#include "kernels/cuda/hopper/mbarrier.cuh"
#include "kernels/cuda/hopper/tensor_copy.cuh"
#include "kernels/cuda/hopper/tensor_map.cuh"
#include "kernels/cuda/hopper/warpgroup.cuh"
#include "kernels/cuda/hopper/wgmma.cuh"

namespace sy::test {

using namespace kernels::cuda;

__global__ void copies_and_barriers(const __grid_constant__ CUtensorMap map, const bf16* from) {
  const uint32_t barrier = shared_address(dynamic_shared<unsigned char>()), tile = barrier + 1024;
  prefetch_tensor_map(&map);
  mbarrier_init(barrier, 1);
  fence_mbarrier_init();
  wait_for_earlier_kernels();
  mbarrier_expect_tx(barrier, 64);
  mbarrier_arrive_expect_tx(barrier, 64);
  tensor_load(tile, &map, barrier, 0, 1);
  tensor_load(tile, &map, barrier, 0, 1, 2);
  tensor_load(tile, &map, barrier, 0, 1, 2, 3);
  if (!mbarrier_try_wait(barrier, 0)) mbarrier_wait(barrier, 0);
  mbarrier_arrive(barrier);
  mbarrier_inval(barrier);
  copy_async_16(tile, from, 8);
  copy_async_commit();
  copy_async_wait<1>();
  copy_async_arrive(barrier);
  copy_async_arrive_noinc(barrier);
  store_shared(tile, bf16(1.0f));
  store_shared(tile, 1.0f);
  store_shared(tile, make_float2(1.0f, 2.0f));
  store_shared(tile, make_uint4(1, 2, 3, 4));
  fence_async_shared();
  fence_async_global();
  tensor_store(&map, tile, 0, 1);
  tensor_store(&map, tile, 0, 1, 2);
  tensor_add(&map, tile, 0, 1);
  tensor_add(&map, tile, 0, 1, 2);
  bulk_commit();
  bulk_wait_read<1>();
  bulk_wait<0>();
  start_dependent_kernels();
}

__global__ void __launch_bounds__(384, 1) warps_and_registers(uint32_t* out) {
  if (threadIdx.x < 128) release_registers<40>();
  else claim_registers<232>();
  uint32_t rows[4];
  load_matrices(rows, shared_address(dynamic_shared<unsigned char>()));
  store_matrices<true>(shared_address(dynamic_shared<unsigned char>()), rows);
  load_matrices<true>(rows, shared_address(dynamic_shared<unsigned char>()));
  store_matrices(shared_address(dynamic_shared<unsigned char>()), rows);
  named_barrier_arrive(1, 384);
  named_barrier_sync(2, 384);
  if (elect_one()) out[threadIdx.x] = pack_bf16(1.0f, 2.0f);
}

template <int kN>
__global__ void __launch_bounds__(128, 1) products(float* out) {
  const uint32_t tile = shared_address(dynamic_shared<unsigned char>());
  const uint64_t k_major = k_major_descriptor<128>(tile), mn_major = mn_major_descriptor<64>(tile, 4096);
  uint32_t a[4];
  load_matrices(a, tile);
  float d[kN / 2];
  keep_in_registers(d);
  wgmma_fence();
  wgmma<kN>(d, k_major, k_major, false);
  wgmma<kN, Major::kMn, Major::kMn, true>(d, mn_major, mn_major, true);
  wgmma<kN>(d, a, k_major, true);
  wgmma<kN, Major::kMn>(d, a, mn_major, true);
  wgmma_commit();
  keep_in_registers(d);
  wgmma_wait<0>();
  for (int i = 0; i < kN / 2; ++i) out[threadIdx.x * (kN / 2) + i] = d[i];
}

#define SY_INSTANTIATE(n, ...) template __global__ void products<n>(float*);
SY_WGMMA_WIDTHS(SY_INSTANTIATE)

}  // namespace sy::test
