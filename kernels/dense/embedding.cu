// CUDA bodies of the embedding. Backward: the block of a token that is the first with its id adds all tokens of that id
// in ascending order; the blocks of the others leave.
#include "kernels/dense/embedding.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) embedding_forward_kernel(EmbeddingForward<T> args) {
  const int64_t i = global_thread();
  if (i >= args.tokens * args.dim) return;
  const int64_t row = args.id[i / args.dim] - args.first_row;
  args.y[i] = row >= 0 && row < args.vocab ? args.table[row * args.dim + i % args.dim] : T(Acc<T>(0));
}

template <class T>
__global__ void __launch_bounds__(kBlock) embedding_backward_kernel(EmbeddingBackward<T> args) {
  using A = Acc<T>;
  __shared__ unsigned same[kRowsPerBlock];  // per warp: which of its tokens have our id
  const int64_t token = blockIdx.x;
  const int32_t id = args.id[token];
  if (id < args.first_row || id - args.first_row >= args.vocab) return;  // all threads of the block alike
  int earlier = 0;
  for (int64_t t = threadIdx.x; t < token; t += kBlock) earlier |= args.id[t] == id;
  if (block_max(earlier) != 0) return;
  A* row = args.dtable + (id - args.first_row) * args.dim;
  for (int64_t t0 = token; t0 < args.tokens; t0 += kBlock) {
    const int64_t t = t0 + threadIdx.x;
    const unsigned votes = __ballot_sync(kFullMask, t < args.tokens && args.id[t] == id);
    if (lane_of() == 0) same[warp_of()] = votes;
    __syncthreads();
    for (int w = 0; w < kRowsPerBlock; ++w)
      for (unsigned left = same[w]; left != 0; left &= left - 1) {
        const T* dy = args.dy + (t0 + w * kWarp + __ffs(static_cast<int>(left)) - 1) * args.dim;
        for (int64_t d = threadIdx.x; d < args.dim; d += kBlock) row[d] += A(dy[d]);
      }
    __syncthreads();
  }
}

}  // namespace

template <class T>
void embedding_forward(Cuda ctx, const EmbeddingForward<T>& args) {
  if (args.tokens * args.dim == 0) return;
  launch(embedding_forward_kernel<T>, grid_for(args.tokens * args.dim, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void embedding_backward(Cuda ctx, const EmbeddingBackward<T>& args) {
  if (args.tokens * args.dim == 0) return;
  launch(embedding_backward_kernel<T>, grid_for(args.tokens, 1), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                            \
  template void embedding_forward(Cuda, const EmbeddingForward<T>&); \
  template void embedding_backward(Cuda, const EmbeddingBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
