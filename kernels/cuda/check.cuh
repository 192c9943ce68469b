// CUDA_CHECK(call): a runtime call that does not return cudaSuccess throws sy::Error with the call, its error and the
// place.
#pragma once

#include <cuda_runtime.h>

#include "kernels/types.h"

namespace sy::kernels::cuda {

// "<call> returned <error>: <meaning>" needs no fmt, which nvcc cannot compile.
[[noreturn]] inline void fail_call(const char* call, const char* error, const char* meaning, const char* file,
                                   int line) {
  char text[512];
  const char* parts[] = {call, " returned ", error, ": ", meaning};
  size_t used = 0;
  for (const char* part : parts)
    for (; *part != 0 && used + 1 < sizeof(text); ++part) text[used++] = *part;
  text[used] = 0;
  fail(text, file, line);
}

}  // namespace sy::kernels::cuda

#define CUDA_CHECK(call)                                                                                        \
  do {                                                                                                          \
    const cudaError_t sy_cuda_error = (call);                                                                   \
    if (sy_cuda_error != cudaSuccess)                                                                           \
      ::sy::kernels::cuda::fail_call(#call, cudaGetErrorName(sy_cuda_error), cudaGetErrorString(sy_cuda_error), \
                                     __FILE__, __LINE__);                                                       \
  } while (0)
