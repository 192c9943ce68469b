// The device calls over the CUDA runtime (the real one, or the simulated one of tests/cuda_sim).
#include <cuda_runtime_api.h>
#include <unistd.h>

#include "csrc/core/allocator.h"
#include "csrc/core/check.h"
#include "csrc/core/device.h"

namespace sy {

namespace {

void check(cudaError_t status, const char* call) {
  SY_CHECK(status == cudaSuccess, "{}: {}", call, cudaGetErrorString(status));
}
#define SY_CUDA_CALL(call) check(call, #call)

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t as_event(void* event) { return static_cast<cudaEvent_t>(event); }

// The driver's stream-ordered pool keeps and reuses blocks.
class CudaAllocator final : public Allocator {
 public:
  explicit CudaAllocator(void* stream) : stream_(as_stream(stream)) {}
  DeviceType device() const override { return DeviceType::cuda; }

 private:
  void* acquire(int64_t bytes) override {
    void* pointer = nullptr;
    const cudaError_t status = cudaMallocAsync(&pointer, static_cast<std::size_t>(bytes), stream_);
    if (status == cudaErrorMemoryAllocation)
      user_error("out of GPU memory: {} bytes asked for; lower train.micro_batch_size, or set train.recompute: full",
                 bytes);
    check(status, "cudaMallocAsync");
    return pointer;
  }
  void release(void* pointer, int64_t) override { cudaFreeAsync(pointer, stream_); }

  cudaStream_t stream_;
};

}  // namespace

std::unique_ptr<Allocator> make_cuda_allocator(void* stream) { return std::make_unique<CudaAllocator>(stream); }

namespace device_api {

int device_count() {
  int count = 0;
  // Without a driver the runtime answers cudaErrorInsufficientDriver: any error means no device.
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string device_name() {
  int device = 0;
  cudaDeviceProp properties{};
  SY_CUDA_CALL(cudaGetDevice(&device));
  SY_CUDA_CALL(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

std::string device_identity() {
  int device = 0;
  char host[256] = {}, bus[32] = {};
  SY_CUDA_CALL(cudaGetDevice(&device));
  SY_CUDA_CALL(cudaDeviceGetPCIBusId(bus, sizeof(bus), device));
  ::gethostname(host, sizeof(host) - 1);
  return fmt::format("{} of {}", bus, host);
}

void use_device(int device) { SY_CUDA_CALL(cudaSetDevice(device)); }

void* create_stream() {
  cudaStream_t stream = nullptr;
  SY_CUDA_CALL(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}
void destroy_stream(void* stream) { cudaStreamDestroy(as_stream(stream)); }
void synchronize(void* stream) { SY_CUDA_CALL(cudaStreamSynchronize(as_stream(stream))); }

void* create_event() {
  cudaEvent_t event = nullptr;
  SY_CUDA_CALL(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}
void destroy_event(void* event) { cudaEventDestroy(as_event(event)); }
void record_event(void* event, void* stream) { SY_CUDA_CALL(cudaEventRecord(as_event(event), as_stream(stream))); }
void stream_wait(void* stream, void* event) {
  SY_CUDA_CALL(cudaStreamWaitEvent(as_stream(stream), as_event(event), 0));
}
bool event_done(void* event) {
  const cudaError_t status = cudaEventQuery(as_event(event));
  if (status == cudaErrorNotReady) {
    // The runtime keeps this answer as an error, which the next launch would take for its own.
    (void)cudaGetLastError();
    return false;
  }
  check(status, "cudaEventQuery");
  return true;
}

void set_zero(void* pointer, int64_t bytes, void* stream) {
  SY_CUDA_CALL(cudaMemsetAsync(pointer, 0, static_cast<std::size_t>(bytes), as_stream(stream)));
}
void copy_from_host(void* destination, const void* source, int64_t bytes, void* stream) {
  SY_CUDA_CALL(
      cudaMemcpyAsync(destination, source, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, as_stream(stream)));
  SY_CUDA_CALL(cudaStreamSynchronize(as_stream(stream)));
}
void copy_to_host(void* destination, const void* source, int64_t bytes, void* stream) {
  SY_CUDA_CALL(
      cudaMemcpyAsync(destination, source, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, as_stream(stream)));
  SY_CUDA_CALL(cudaStreamSynchronize(as_stream(stream)));
}
void copy_on_device(void* destination, const void* source, int64_t bytes, void* stream) {
  SY_CUDA_CALL(cudaMemcpyAsync(destination, source, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice,
                               as_stream(stream)));
}

}  // namespace device_api
}  // namespace sy
