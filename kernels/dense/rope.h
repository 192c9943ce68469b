// Rotary position embedding (Su et al. 2021) in the half-split layout of Hugging Face, in place on a fused qkv buffer.
//
// x is [tokens, ld]; the first `heads` vectors of `head_dim` elements of each row are rotated (q then k), the rest is
// left alone. For pair i < head_dim/2 with angle a = position * inv_freq[i]:
//   y[i] = (x[i] cos a - x[i+half] sin a) * scale;   y[i+half] = (x[i+half] cos a + x[i] sin a) * scale.
// inverse = true rotates by -a: the backward pass. position [tokens] i32, inv_freq [head_dim/2] f64. Angles in f64.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct Rope {
  T* x = nullptr;
  const int32_t* position = nullptr;
  const double* inv_freq = nullptr;
  int64_t tokens = 0, heads = 0, head_dim = 0, ld = 0;
  double scale = 1.0;
  bool inverse = false;

  Work work() const { return {.bytes = bytes_of<T, T>(tokens * heads * head_dim)}; }
};

template <class T>
void rope(Cpu, const Rope<T>& args);
template <class T>
void rope(Cuda, const Rope<T>& args);

}  // namespace sy::kernels
