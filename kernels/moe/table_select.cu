// CUDA body of the selection by token id: one thread per entry.
#include "kernels/moe/table_select.h"

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

__global__ void __launch_bounds__(kBlock) table_select_kernel(TableSelect args) {
  const int64_t n = global_thread();
  if (n >= args.tokens * args.per_token) return;
  const int64_t t = n / args.per_token;
  args.token[n] = static_cast<int32_t>(t);
  args.expert[n] = args.table[args.token_id[t] * args.per_token + n % args.per_token];
}

}  // namespace

void table_select(Cuda ctx, const TableSelect& args) {
  if (args.tokens * args.per_token == 0) return;
  launch(table_select_kernel, grid_for(args.tokens * args.per_token, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace sy::kernels
