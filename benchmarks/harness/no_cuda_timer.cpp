// Takes the place of cuda_timer.cpp in builds without CUDA.
#include "benchmarks/harness/timer.h"

namespace sy::bench {

std::unique_ptr<Timer> make_event_timer(void*) {
  user_error("--device cuda needs a build with CUDA; use `cmake --preset cuda`");
}

}  // namespace sy::bench
