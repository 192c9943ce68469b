#include "csrc/ops/matmul.h"

#include "csrc/core/launch.h"
#include "kernels/dense/gemm.h"

namespace sy::ops {

namespace {

template <class In, class Out>
void launch_gemm(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& c, const MatmulOptions& o) {
  SY_LAUNCH(ctx, gemm,
            (kernels::Gemm<In, Out>{.a = a.data<In>(),
                                    .b = b.data<In>(),
                                    .c = c.data<Out>(),
                                    .m = c.dim(0),
                                    .n = c.dim(1),
                                    .k = o.transpose_a ? a.dim(0) : a.dim(1),
                                    .lda = a.dim(1),
                                    .ldb = b.dim(1),
                                    .ldc = c.dim(1),
                                    .transpose_a = o.transpose_a,
                                    .transpose_b = o.transpose_b,
                                    .accumulate = o.accumulate}));
}

}  // namespace

void matmul(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& c, const MatmulOptions& o) {
  const int64_t m = o.transpose_a ? a.dim(1) : a.dim(0), k = o.transpose_a ? a.dim(0) : a.dim(1);
  const int64_t kb = o.transpose_b ? b.dim(1) : b.dim(0), n = o.transpose_b ? b.dim(0) : b.dim(1);
  SY_CHECK(k == kb && c.dim(0) == m && c.dim(1) == n && a.dtype() == b.dtype(), "matmul of {} {} and {} {} into {} {}",
           dtype_name(a.dtype()), shape_string(a.shape()), dtype_name(b.dtype()), shape_string(b.shape()),
           dtype_name(c.dtype()), shape_string(c.shape()));
  dispatch_float(a.dtype(), [&]<class T>() {
    if (c.dtype() == a.dtype())
      launch_gemm<T, T>(ctx, a, b, c, o);
    else
      launch_gemm<T, Acc<T>>(ctx, a, b, c, o);
  });
}

}  // namespace sy::ops
