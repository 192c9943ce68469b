// Bulk tensor copies: one thread moves a box of a tensor (tensor_map.cuh) between global and shared memory.
//
// Coordinates are element indices of the box's first element, dimension 0 first. A box lies in shared memory row by
// row, swizzled on the absolute address: tiles start at multiples of 1024 bytes. A load writes zeros for what lies
// outside the tensor and always reports the bytes of the full box to its mbarrier; a store leaves out what lies outside
// and must not start below 0. Groups of stores belong to the issuing thread. Pass maps as `const __grid_constant__`.
#pragma once

#include <cuda.h>

#include "kernels/cuda/hopper/shared_memory.cuh"

namespace sy::kernels::cuda {

__device__ __forceinline__ void tensor_load(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y) {
#if defined(SY_CUDA_SIM)
  const int coordinates[] = {x, y};
  cuda_sim::tensor_load(to, map, barrier, coordinates, 2);
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::
          "r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
#endif
}
__device__ __forceinline__ void tensor_load(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y,
                                            int z) {
#if defined(SY_CUDA_SIM)
  const int coordinates[] = {x, y, z};
  cuda_sim::tensor_load(to, map, barrier, coordinates, 3);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z)
      : "memory");
#endif
}
__device__ __forceinline__ void tensor_load(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y, int z,
                                            int w) {
#if defined(SY_CUDA_SIM)
  const int coordinates[] = {x, y, z, w};
  cuda_sim::tensor_load(to, map, barrier, coordinates, 4);
#else
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
#endif
}

__device__ __forceinline__ void tensor_store(const CUtensorMap* map, uint32_t from, int x, int y) {
#if defined(SY_CUDA_SIM)
  const int coordinates[] = {x, y};
  cuda_sim::tensor_store(cuda_sim::StoreKind::kWrite, map, from, coordinates, 2);
#else
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map), "r"(from),
               "r"(x), "r"(y)
               : "memory");
#endif
}
__device__ __forceinline__ void tensor_store(const CUtensorMap* map, uint32_t from, int x, int y, int z) {
#if defined(SY_CUDA_SIM)
  const int coordinates[] = {x, y, z};
  cuda_sim::tensor_store(cuda_sim::StoreKind::kWrite, map, from, coordinates, 3);
#else
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
               "r"(from), "r"(x), "r"(y), "r"(z)
               : "memory");
#endif
}

// Adds to what the tensor holds. In no fixed order among blocks: one block owns a tile, or sums are not repeatable.
__device__ __forceinline__ void tensor_add(const CUtensorMap* map, uint32_t from, int x, int y) {
#if defined(SY_CUDA_SIM)
  const int coordinates[] = {x, y};
  cuda_sim::tensor_store(cuda_sim::StoreKind::kAdd, map, from, coordinates, 2);
#else
  asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
               "r"(from), "r"(x), "r"(y)
               : "memory");
#endif
}
__device__ __forceinline__ void tensor_add(const CUtensorMap* map, uint32_t from, int x, int y, int z) {
#if defined(SY_CUDA_SIM)
  const int coordinates[] = {x, y, z};
  cuda_sim::tensor_store(cuda_sim::StoreKind::kAdd, map, from, coordinates, 3);
#else
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
      "r"(from), "r"(x), "r"(y), "r"(z)
      : "memory");
#endif
}

// Closes the group of this thread's stores since the last one.
__device__ __forceinline__ void bulk_commit() {
#if defined(SY_CUDA_SIM)
  cuda_sim::bulk_commit();
#else
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}

// Until at most kPending of this thread's groups have still to read shared memory: it may be written again.
template <int kPending>
__device__ __forceinline__ void bulk_wait_read() {
#if defined(SY_CUDA_SIM)
  cuda_sim::bulk_wait(kPending, true);
#else
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
#endif
}

// Until at most kPending of this thread's groups have still to write global memory.
template <int kPending>
__device__ __forceinline__ void bulk_wait() {
#if defined(SY_CUDA_SIM)
  cuda_sim::bulk_wait(kPending, false);
#else
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Fetches the map itself ahead of its first use.
__device__ __forceinline__ void prefetch_tensor_map([[maybe_unused]] const CUtensorMap* map) {
#if !defined(SY_CUDA_SIM)
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

}  // namespace sy::kernels::cuda
