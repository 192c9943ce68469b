// The one way to launch a kernel, on nvcc and on simulated CUDA (tests/cuda_sim), and what every kernel file needs.
//
//   launch(kernel, grid, block, dynamic_shared_bytes, stream, args...);
//   CUDA_CHECK(cudaGetLastError());
// launch_early(...) takes the same, for a kernel that may begin before the one before it on the stream is complete
// (programmatic dependent launch, kernels/cuda/hopper/warpgroup.cuh; from compute capability 9.0 on).
//
// Arguments are converted to the kernel's parameter types. Kernels get primitive values, pointers and args structs, all
// by value. A grid must not be empty: bodies return before launching when there is nothing to do.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#if defined(SY_CUDA_SIM)
#include "tests/cuda_sim/device.h"
#endif

#include "kernels/cuda/check.cuh"

namespace sy::kernels::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kBlock = 256;  // threads of a block, unless a kernel says otherwise
inline constexpr unsigned kFullMask = 0xffffffffu;

enum class Start : uint8_t { kInOrder, kEarly };

template <class... P, class... A>
void launch_as(Start start, void (*kernel)(P...), dim3 grid, dim3 block, size_t dynamic_shared_bytes, void* stream,
               A&&... args) {
  // Above 48 KiB a kernel must ask for its dynamic shared memory.
  if (dynamic_shared_bytes > 48 * 1024)
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(dynamic_shared_bytes)));
#if defined(SY_CUDA_SIM)
  cuda_sim::launch(
      reinterpret_cast<const void*>(kernel), grid, block, dynamic_shared_bytes, static_cast<cudaStream_t>(stream),
      [kernel, ... values = static_cast<P>(args)] { cuda_sim::run_thread(kernel, values...); }, start == Start::kEarly);
#else
  const auto enqueue = [&](P... values) {
    void* addresses[] = {static_cast<void*>(&values)..., nullptr};
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = dynamic_shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = &early;
    config.numAttrs = start == Start::kEarly ? 1 : 0;
    // The error is kept by the runtime, for the caller's cudaGetLastError().
    (void)cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), addresses);
  };
  enqueue(static_cast<P>(args)...);
#endif
}

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t dynamic_shared_bytes, void* stream, A&&... args) {
  launch_as(Start::kInOrder, kernel, grid, block, dynamic_shared_bytes, stream, static_cast<A&&>(args)...);
}

template <class... P, class... A>
void launch_early(void (*kernel)(P...), dim3 grid, dim3 block, size_t dynamic_shared_bytes, void* stream, A&&... args) {
  launch_as(Start::kEarly, kernel, grid, block, dynamic_shared_bytes, stream, static_cast<A&&>(args)...);
}

inline constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks for `work` items at `per_block` each, as a grid dimension; x holds up to 2^31 - 1.
inline dim3 grid_for(int64_t work, int64_t per_block) {
  const int64_t blocks = ceil_div(work, per_block);
  SY_KERNEL_CHECK(blocks >= 1 && blocks <= 0x7fffffff);
  return dim3(static_cast<unsigned>(blocks));
}

// The block's dynamic shared memory, aligned to 1024 bytes.
template <class T>
__device__ inline T* dynamic_shared() {
#if defined(SY_CUDA_SIM)
  return reinterpret_cast<T*>(cuda_sim::dynamic_shared());
#else
  extern __shared__ __align__(1024) unsigned char sy_dynamic_shared[];
  return reinterpret_cast<T*>(sy_dynamic_shared);
#endif
}

__device__ inline int64_t global_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace sy::kernels::cuda
