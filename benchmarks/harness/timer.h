// Timer: microseconds between two points of a device's work. CPU: a steady clock. CUDA: events on the context's stream,
// so that the host's own time is not counted while the device has work queued.
#pragma once

#include <memory>

#include "csrc/core/context.h"

namespace sy::bench {

class Timer {
 public:
  virtual ~Timer() = default;
  virtual void start() = 0;
  // Waits for the work since start().
  virtual double stop_us() = 0;
};

std::unique_ptr<Timer> make_timer(Context& ctx);
std::unique_ptr<Timer> make_event_timer(void* stream);  // cuda_timer.cpp, or no_cuda_timer.cpp, which throws

}  // namespace sy::bench
