// CUDA bodies of the gradient norm: one block per 4096 elements, then one block over the partial sums, all in f64: the
// square of a large f32 gradient would overflow and pass for an infinity.
#include "kernels/optim/grad_norm.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

constexpr int64_t kElements = 4096;  // of the contract: elements per partial sum

template <class A>
__global__ void __launch_bounds__(kBlock) partial_squares_kernel(SumSquares<A> args) {
  const int64_t begin = blockIdx.x * kElements;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < args.count && i < begin + kElements; i += kBlock)
    sum += static_cast<double>(args.x[i]) * static_cast<double>(args.x[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) args.partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(1024)
    add_partial_squares_kernel(const double* partials, int64_t count, double weight, double* total) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total += weight * sum;
}

__global__ void clip_coefficient_kernel(ClipCoefficient args) {
  const double total = *args.total;
  StepState& state = *args.state;
  state.grad_norm_squared = total;
  state.skip = is_finite(total) && is_finite(*args.loss) ? 0 : 1;
  const double ratio = args.max_norm > 0 ? args.max_norm / (sqrt(total) + 1e-6) : 1.0;
  state.clip_coefficient = ratio < 1.0 ? ratio : 1.0;  // written so that NaN gives 1
}

}  // namespace

template <class A>
void sum_squares(Cuda ctx, const SumSquares<A>& args) {
  if (args.count == 0) return;
  const dim3 grid = grid_for(args.count, kElements);
  launch(partial_squares_kernel<A>, grid, kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
  launch(add_partial_squares_kernel, dim3(1), dim3(1024), 0, ctx.stream, args.partials, grid.x, args.weight,
         args.total);
  CUDA_CHECK(cudaGetLastError());
}

void clip_coefficient(Cuda ctx, const ClipCoefficient& args) {
  launch(clip_coefficient_kernel, dim3(1), dim3(1), 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template void sum_squares(Cuda, const SumSquares<float>&);
template void sum_squares(Cuda, const SumSquares<double>&);

}  // namespace sy::kernels
