// CUDA events around the timed work.
#include <cuda_runtime.h>

#include "benchmarks/harness/timer.h"
#include "kernels/cuda/check.cuh"

namespace sy::bench {

namespace {

class EventTimer final : public Timer {
 public:
  explicit EventTimer(void* stream) : stream_(static_cast<cudaStream_t>(stream)) {
    CUDA_CHECK(cudaEventCreate(&begin_));
    CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~EventTimer() override {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  void start() override { CUDA_CHECK(cudaEventRecord(begin_, stream_)); }
  double stop_us() override {
    float milliseconds = 0;
    CUDA_CHECK(cudaEventRecord(end_, stream_));
    CUDA_CHECK(cudaEventSynchronize(end_));
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return 1e3 * static_cast<double>(milliseconds);
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_{}, end_{};
};

}  // namespace

std::unique_ptr<Timer> make_event_timer(void* stream) { return std::make_unique<EventTimer>(stream); }

}  // namespace sy::bench
