// The first keys of a sliding window:  windowed[i] = max(first_key[i], i - window + 1):  a token sees the last `window`
// tokens of its document, itself among them. first_key [tokens] i32 as in causal_attention.h; windowed [tokens] i32 is
// set and never decreases either.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

struct WindowKeys {
  const int32_t* first_key = nullptr;
  int32_t* windowed = nullptr;
  int64_t tokens = 0, window = 0;

  Work work() const { return {.bytes = bytes_of<int32_t, int32_t>(tokens)}; }
};

void window_keys(Cpu, const WindowKeys& args);
void window_keys(Cuda, const WindowKeys& args);

}  // namespace sy::kernels
