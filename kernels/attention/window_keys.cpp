#include "kernels/attention/window_keys.h"

#include <algorithm>

namespace sy::kernels {

void window_keys(Cpu, const WindowKeys& args) {
  for (int64_t i = 0; i < args.tokens; ++i)
    args.windowed[i] = static_cast<int32_t>(std::max<int64_t>(args.first_key[i], i - args.window + 1));
}

}  // namespace sy::kernels
