// CUDA body of the dense product: 64 x 64 tiles through shared memory, any transposition. The simple path for every
// architecture; sums run over ascending k, whatever the tile.
#include "kernels/dense/gemm.h"

#include "kernels/cuda/tile_product.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class In, class Out, bool kTransposeA, bool kTransposeB>
__global__ void __launch_bounds__(kBlock) gemm_kernel(Gemm<In, Out> args) {
  using A = Acc<In>;
  const int64_t m0 = static_cast<int64_t>(blockIdx.x) * kTile, n0 = static_cast<int64_t>(blockIdx.y) * kTile;
  const auto load_a = [&](int m, int64_t k) {
    const int64_t row = m0 + m;
    if (row >= args.m) return A(0);
    return A(args.a[kTransposeA ? k * args.lda + row : row * args.lda + k]);
  };
  const auto load_b = [&](int64_t k, int n) {
    const int64_t column = n0 + n;
    if (column >= args.n) return A(0);
    return A(args.b[kTransposeB ? column * args.ldb + k : k * args.ldb + column]);
  };
  A acc[kPerThread][kPerThread];
  tile_product<A, !kTransposeA, kTransposeB>(args.k, load_a, load_b, acc);
  for (int i = 0; i < kPerThread; ++i)
    for (int j = 0; j < kPerThread; ++j) {
      const int64_t row = m0 + tile_row(i), column = n0 + tile_column(j);
      if (row >= args.m || column >= args.n) continue;
      Out* c = args.c + row * args.ldc + column;
      *c = Out(args.accumulate ? A(*c) + acc[i][j] : acc[i][j]);
    }
}

}  // namespace

template <class In, class Out>
void gemm(Cuda ctx, const Gemm<In, Out>& args) {
  if (args.m == 0 || args.n == 0) return;
  // Row tiles in x, whose limit is 2^31 - 1; columns are weights' widths.
  const dim3 grid(grid_for(args.m, kTile).x, static_cast<unsigned>(ceil_div(args.n, kTile)));
  auto* kernel = args.transpose_a
                     ? (args.transpose_b ? gemm_kernel<In, Out, true, true> : gemm_kernel<In, Out, true, false>)
                     : (args.transpose_b ? gemm_kernel<In, Out, false, true> : gemm_kernel<In, Out, false, false>);
  launch(kernel, grid, kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void gemm(Cuda, const Gemm<float, float>&);
template void gemm(Cuda, const Gemm<double, double>&);
template void gemm(Cuda, const Gemm<bf16, bf16>&);
template void gemm(Cuda, const Gemm<bf16, float>&);

}  // namespace sy::kernels
