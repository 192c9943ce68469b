// Types shared by every kernel contract: element types, execution tags, shape limits.
//
// kernels/ knows raw pointers, sizes and a stream, nothing else. A kernel <name> consists of
//   <name>.h    the contract: one args struct per launcher, formula, shapes, dtypes, determinism, set-or-accumulate
//   <name>.cpp  the CPU body:  void <name>(Cpu, const Args&)
//   <name>.cu   the CUDA body: void <name>(Cuda, const Args&)  (compiled by nvcc, or by g++ on simulated CUDA)
// Callers pick the body by the type of the first argument. This header is included by .cu files: no fmt, no yaml here.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__) || defined(SY_CUDA_SIM)
#define SY_HD __host__ __device__
#else
#define SY_HD
#endif
#if defined(SY_CUDA_SIM) && !defined(__CUDACC__)
// Under the simulator the same sources are plain C++; its header defines these for .cu files, others need empty ones.
#ifndef __host__
#define __host__
#endif
#ifndef __device__
#define __device__
#endif
#endif

namespace sy {

// Brain floating point: the upper half of an f32. Arithmetic happens in f32; this type only stores.
struct bf16 {
  uint16_t bits;

  bf16() = default;
  // Rounds to nearest even; NaN stays NaN (quiet).
  SY_HD explicit bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    const bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    bits = static_cast<uint16_t>(is_nan ? ((u >> 16) | 0x40u) : rounded);
  }
  SY_HD operator float() const {
    const uint32_t u = static_cast<uint32_t>(bits) << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
  }
};
static_assert(sizeof(bf16) == 2);

// The type in which sums over elements of T are kept and in which router state, losses and gradients of parameters
// live.
template <class T>
struct AccOf {
  using type = float;
};
template <>
struct AccOf<double> {
  using type = double;
};
template <class T>
using Acc = typename AccOf<T>::type;

namespace kernels {

// Execution tags. A Cpu body runs before it returns; a Cuda body is enqueued on `stream` (a cudaStream_t).
struct Cpu {};
struct Cuda {
  void* stream = nullptr;
};

// Reports a failed precondition from a .cu file (defined in csrc/core/check.cpp, throws sy::Error).
[[noreturn]] void fail(const char* what, const char* file, int line);

}  // namespace kernels
}  // namespace sy

#define SY_KERNEL_CHECK(cond)                                    \
  do {                                                           \
    if (!(cond)) ::sy::kernels::fail(#cond, __FILE__, __LINE__); \
  } while (0)
