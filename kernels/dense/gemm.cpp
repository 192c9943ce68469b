// CPU body of gemm: the contract's flags mapped onto the blocked product.
#include "kernels/dense/gemm.h"

#include "kernels/cpu/gemm_product.h"

namespace sy::kernels {

template <class In, class Out>
void gemm(Cpu, const Gemm<In, Out>& args) {
  cpu::Product<In, Out> product;
  product.a = {args.a, args.lda, !args.transpose_a};
  product.b = {args.b, args.ldb, args.transpose_b};
  product.c = args.c;
  product.ldc = args.ldc;
  product.m = args.m;
  product.n = args.n;
  product.k = args.k;
  product.accumulate = args.accumulate;
  cpu::parallel_product(product);
}

template void gemm(Cpu, const Gemm<float, float>&);
template void gemm(Cpu, const Gemm<double, double>&);
template void gemm(Cpu, const Gemm<bf16, bf16>&);
template void gemm(Cpu, const Gemm<bf16, float>&);

}  // namespace sy::kernels
