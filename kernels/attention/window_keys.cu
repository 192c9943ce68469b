// CUDA body of the window's first keys: one thread per token.
#include "kernels/attention/window_keys.h"

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

__global__ void __launch_bounds__(kBlock) window_keys_kernel(WindowKeys args) {
  const int64_t i = global_thread();
  if (i >= args.tokens) return;
  const int64_t begin = i - args.window + 1;
  args.windowed[i] = begin > args.first_key[i] ? static_cast<int32_t>(begin) : args.first_key[i];
}

}  // namespace

void window_keys(Cuda ctx, const WindowKeys& args) {
  if (args.tokens == 0) return;
  launch(window_keys_kernel, grid_for(args.tokens, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace sy::kernels
