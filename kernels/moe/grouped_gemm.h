// Grouped matrix products: one product per expert over its segment of rows, counts read on the device.
//
// Segment e of `experts` covers rows seg_start[e] .. seg_start[e]+seg_count[e]-1 of the row buffers (i32, device).
//   forward: y[r, out_dim]  = x[r, in_dim]  * w[e]^T        w [experts, out_dim, in_dim] (row-major, Hugging Face
//   layout) dgrad:   dx[r, in_dim]  = dy[r, out_dim] * w[e] wgrad:   dw[e, out_dim, in_dim] += sum over r of dy[r]^T
//   x[r]     (Acc<T>; accumulated; an empty expert adds nothing)
// forward and dgrad set the rows of segments and write nothing else except that pad rows between segments, below the
// last segment's aligned end, may be set to zero. Rows outside segments are never read. x, y, w in T; sums in Acc<T>.
// Deterministic: the summation order of a row depends on the shapes, not on which expert ran first.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct GroupedGemmForward {
  const T* x = nullptr;
  const T* w = nullptr;
  T* y = nullptr;
  const int32_t* seg_start = nullptr;
  const int32_t* seg_count = nullptr;
  int64_t experts = 0, rows = 0, in_dim = 0, out_dim = 0;

  Work work() const {
    return {.flops = product_flops(rows, out_dim, in_dim),
            .bytes = bytes_of<T>(rows * (in_dim + out_dim) + experts * in_dim * out_dim),
            .factor_bytes = sizeof(T)};
  }
};

template <class T>
struct GroupedGemmDgrad {
  const T* dy = nullptr;
  const T* w = nullptr;
  T* dx = nullptr;
  const int32_t* seg_start = nullptr;
  const int32_t* seg_count = nullptr;
  int64_t experts = 0, rows = 0, in_dim = 0, out_dim = 0;

  Work work() const {
    return {.flops = product_flops(rows, out_dim, in_dim),
            .bytes = bytes_of<T>(rows * (in_dim + out_dim) + experts * in_dim * out_dim),
            .factor_bytes = sizeof(T)};
  }
};

template <class T>
struct GroupedGemmWgrad {
  const T* dy = nullptr;
  const T* x = nullptr;
  Acc<T>* dw = nullptr;
  const int32_t* seg_start = nullptr;
  const int32_t* seg_count = nullptr;
  int64_t experts = 0, rows = 0, in_dim = 0, out_dim = 0;

  Work work() const {
    return {.flops = product_flops(rows, out_dim, in_dim),
            .bytes = bytes_of<T>(rows * (in_dim + out_dim)) + bytes_of<Acc<T>, Acc<T>>(experts * in_dim * out_dim),
            .factor_bytes = sizeof(T)};
  }
};

template <class T>
void grouped_gemm_forward(Cpu, const GroupedGemmForward<T>& args);
template <class T>
void grouped_gemm_forward(Cuda, const GroupedGemmForward<T>& args);
template <class T>
void grouped_gemm_dgrad(Cpu, const GroupedGemmDgrad<T>& args);
template <class T>
void grouped_gemm_dgrad(Cuda, const GroupedGemmDgrad<T>& args);
template <class T>
void grouped_gemm_wgrad(Cpu, const GroupedGemmWgrad<T>& args);
template <class T>
void grouped_gemm_wgrad(Cuda, const GroupedGemmWgrad<T>& args);

}  // namespace sy::kernels
