// CUDA body of the dense product: cuBLASLt, whose matrices are column-major. There a row-major C is its transpose, and
// C^T = op(B)^T op(A)^T of operands that stay as they lie.
#include "kernels/dense/gemm.h"

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/matmul.h"

namespace sy::kernels {
namespace {

template <class T>
constexpr cudaDataType_t kDataType = CUDA_R_32F;
template <>
constexpr cudaDataType_t kDataType<double> = CUDA_R_64F;
template <>
constexpr cudaDataType_t kDataType<bf16> = CUDA_R_16BF;

}  // namespace

template <class In, class Out>
void gemm(Cuda ctx, const Gemm<In, Out>& args) {
  if (args.m == 0 || args.n == 0) return;
  if (args.k > 0) {
    cuda::Matmul transposed{};
    transposed.operands = kDataType<In>;
    transposed.result = kDataType<Out>;
    transposed.a = args.b;
    transposed.b = args.a;
    transposed.c = args.c;
    transposed.transpose_a = args.transpose_b;
    transposed.transpose_b = args.transpose_a;
    transposed.accumulate = args.accumulate;
    transposed.m = args.n;
    transposed.n = args.m;
    transposed.k = args.k;
    transposed.lda = args.ldb;
    transposed.ldb = args.lda;
    transposed.ldc = args.ldc;
    return cuda::matmul(ctx, transposed);
  }
  if (!args.accumulate)
    CUDA_CHECK(cudaMemset2DAsync(args.c, static_cast<size_t>(args.ldc) * sizeof(Out), 0,
                                 static_cast<size_t>(args.n) * sizeof(Out), static_cast<size_t>(args.m),
                                 static_cast<cudaStream_t>(ctx.stream)));
}

template void gemm(Cuda, const Gemm<float, float>&);
template void gemm(Cuda, const Gemm<double, double>&);
template void gemm(Cuda, const Gemm<bf16, bf16>&);
template void gemm(Cuda, const Gemm<bf16, float>&);

}  // namespace sy::kernels
