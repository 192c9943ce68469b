// Sums, maxima and scans over a warp or a block, in an order that depends on the thread count only.
//
// Every thread of the warp (block) must call; every thread receives the result. Block versions hold up to 1024 threads
// in whole warps and start with a barrier, so that calls may follow each other.
#pragma once

#include "kernels/cuda/math.cuh"

namespace sy::kernels::cuda {

__device__ inline int lane_of() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int warp_of() { return static_cast<int>(threadIdx.x) / kWarp; }

template <class V>
__device__ inline V warp_sum(V value) {
  for (int d = kWarp / 2; d > 0; d /= 2) value += __shfl_xor_sync(kFullMask, value, d);
  return value;
}

template <class V>
__device__ inline V warp_max(V value) {
  for (int d = kWarp / 2; d > 0; d /= 2) value = larger(value, __shfl_xor_sync(kFullMask, value, d));
  return value;
}

// Each warp leaves its part in shared memory; then all threads read the parts in warp order.
template <class V>
__device__ inline V block_sum(V value) {
  __shared__ V part[kWarp];
  value = warp_sum(value);
  __syncthreads();
  if (lane_of() == 0) part[warp_of()] = value;
  __syncthreads();
  V total = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / kWarp; ++w) total += part[w];
  return total;
}

template <class V>
__device__ inline V block_max(V value) {
  __shared__ V part[kWarp];
  value = warp_max(value);
  __syncthreads();
  if (lane_of() == 0) part[warp_of()] = value;
  __syncthreads();
  V result = part[0];
  for (int w = 1; w < static_cast<int>(blockDim.x) / kWarp; ++w) result = larger(result, part[w]);
  return result;
}

template <class V>
__device__ inline V warp_inclusive_scan(V value) {
  for (int d = 1; d < kWarp; d *= 2) {
    const V before = __shfl_up_sync(kFullMask, value, static_cast<unsigned>(d));
    if (lane_of() >= d) value += before;
  }
  return value;
}

// Sum over the threads up to and including this one; *total receives the sum over the block.
template <class V>
__device__ inline V block_inclusive_scan(V value, V* total) {
  __shared__ V part[kWarp];
  value = warp_inclusive_scan(value);
  __syncthreads();
  if (lane_of() == kWarp - 1) part[warp_of()] = value;
  __syncthreads();
  V sum = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / kWarp; ++w) {
    if (w == warp_of()) value += sum;
    sum += part[w];
  }
  *total = sum;
  return value;
}

// Rows worked on by one warp each: the row of the calling warp, and the grid for a number of rows.
inline constexpr int kRowsPerBlock = kBlock / kWarp;
__device__ inline int64_t warp_row() { return static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + warp_of(); }

}  // namespace sy::kernels::cuda
