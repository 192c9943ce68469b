// CUDA body of sum_segments: one thread per element.
#include "kernels/dense/sum_segments.h"

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

template <class T>
__global__ void __launch_bounds__(kBlock) sum_segments_kernel(SumSegments<T> args) {
  const int64_t i = global_thread();
  if (i >= args.count) return;
  Acc<T> sum = static_cast<Acc<T>>(args.segments[i]);
  for (int64_t r = 1; r < args.ranks; ++r) sum += static_cast<Acc<T>>(args.segments[r * args.count + i]);
  args.sum[i] = static_cast<T>(sum);
}

}  // namespace

template <class T>
void sum_segments(Cuda ctx, const SumSegments<T>& args) {
  if (args.count == 0) return;
  launch(sum_segments_kernel<T>, grid_for(args.count, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void sum_segments(Cuda, const SumSegments<float>&);
template void sum_segments(Cuda, const SumSegments<bf16>&);
template void sum_segments(Cuda, const SumSegments<double>&);

}  // namespace sy::kernels
