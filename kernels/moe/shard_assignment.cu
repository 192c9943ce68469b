// CUDA body of a shard's assignment list: one thread per entry.
#include "kernels/moe/shard_assignment.h"

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

__global__ void __launch_bounds__(kBlock) shard_assignment_kernel(ShardAssignment args) {
  const int64_t n = global_thread();
  if (n >= args.entries) return;
  const int32_t expert = args.expert[n];
  const int64_t token = args.token[n] - args.first_token;
  const bool wanted = !args.only_dropped || (args.kept != nullptr && args.kept[n] == 0);
  const bool inside = expert >= 0 && wanted && token >= 0 && token < args.tokens;
  args.token_out[n] = inside ? static_cast<int32_t>(token) : 0;
  args.expert_out[n] = inside ? expert : -1;
}

}  // namespace

void shard_assignment(Cuda ctx, const ShardAssignment& args) {
  if (args.entries == 0) return;
  launch(shard_assignment_kernel, grid_for(args.entries, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace sy::kernels
