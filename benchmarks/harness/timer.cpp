#include "benchmarks/harness/timer.h"

#include <chrono>

namespace sy::bench {

namespace {

class SteadyTimer final : public Timer {
 public:
  void start() override { begin_ = std::chrono::steady_clock::now(); }
  double stop_us() override {
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace

std::unique_ptr<Timer> make_timer(Context& ctx) {
  if (ctx.device() == DeviceType::cuda) return make_event_timer(ctx.stream());
  return std::make_unique<SteadyTimer>();
}

}  // namespace sy::bench
