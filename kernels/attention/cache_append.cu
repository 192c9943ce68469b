// CUDA body of the cache append: one thread per element of the q, k and v parts.
#include "kernels/attention/cache_append.h"

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) cache_append_kernel(CacheAppend<T> args) {
  const int64_t q_columns = args.heads * args.head_dim, kv_columns = args.kv_heads * args.head_dim;
  const int64_t columns = q_columns + 2 * kv_columns, i = global_thread();
  if (i >= args.batch * args.count * columns) return;
  const int64_t token = i / columns, column = i % columns, b = token / args.count;
  const T value = args.qkv[token * args.ld + column];
  const int64_t slot = (b * args.capacity + args.past[b] + token % args.count) * kv_columns;
  if (column < q_columns) args.q[token * q_columns + column] = value;
  else if (column < q_columns + kv_columns) args.k_cache[slot + column - q_columns] = value;
  else args.v_cache[slot + column - q_columns - kv_columns] = value;
}

}  // namespace

template <class T>
void cache_append(Cuda ctx, const CacheAppend<T>& args) {
  const int64_t elements = args.batch * args.count * (args.heads + 2 * args.kv_heads) * args.head_dim;
  if (elements == 0) return;
  launch(cache_append_kernel<T>, grid_for(elements, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void cache_append(Cuda, const CacheAppend<float>&);
template void cache_append(Cuda, const CacheAppend<bf16>&);
template void cache_append(Cuda, const CacheAppend<double>&);

}  // namespace sy::kernels
