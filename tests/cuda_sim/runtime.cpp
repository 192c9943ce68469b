// Simulated CUDA: the used slice of the CUDA runtime, over the streams of streams.h and the memory of memory.h.
//
// Copies check that each side lies inside one allocation of the kind that the direction names, as a real device would
// fault. Where the documentation leaves open whether a call waits, it does not wait here; calls after which a real host
// has or may have waited for the device are counted. cudaMalloc and the pinned allocations take place at once.
#include <cuda_runtime.h>

#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/cuda_sim/access_checker.h"
#include "tests/cuda_sim/executor.h"

struct CUevent_st {
  bool has_time = true;
  std::shared_ptr<const sy::cuda_sim::Record> last;  // null: never recorded
};

namespace sy::cuda_sim {
namespace {

std::mutex mutex;
std::map<const void*, size_t> shared_limits;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t host_waits(const Point& point) {
  ++counters().host_syncs;
  wait_for(point);
  return cudaSuccess;
}

bool is_legal_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return kind == cudaMemcpyDefault || (is_device(to, bytes) == wants_to && is_device(from, bytes) == wants_from);
}

// Pageable memory is read at the call, through a staging buffer, and written when the operation runs: the caller waits
// for that. Pinned and device memory are read and written when it runs.
void enqueue_copy(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  std::shared_ptr<const std::vector<unsigned char>> staged;
  if (is_pageable(from)) {
    const auto* first = static_cast<const unsigned char*>(from);
    staged = std::make_shared<const std::vector<unsigned char>>(first, first + bytes);
  }
  enqueue(stream, "copy", [=] {
    check_usable("a copy to", to, bytes);
    if (staged == nullptr) check_usable("a copy from", from, bytes);
    std::memmove(to, staged == nullptr ? from : staged->data(), bytes);
    access_checker::copied(to, from, bytes);
    return true;
  });
}

cudaError_t set(void* address, int value, size_t bytes, cudaStream_t stream) {
  if (!is_stream(stream)) return report(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  if (!is_device(address, bytes)) return report(cudaErrorInvalidValue);
  enqueue(stream, "memset", [=] {
    check_usable("a memset", address, bytes);
    std::memset(address, value, bytes);
    access_checker::written(address, bytes);
    return true;
  });
  return cudaSuccess;
}

cudaError_t give(void** pointer, size_t bytes, void* (*allocate_bytes)(size_t)) {
  if (pointer == nullptr) return report(cudaErrorInvalidValue);
  *pointer = bytes == 0 ? nullptr : allocate_bytes(bytes);
  return bytes == 0 || *pointer != nullptr ? cudaSuccess : report(cudaErrorMemoryAllocation);
}

// The runtime keeps cudaErrorNotReady as its last error, although it is none.
cudaError_t readiness(bool is_ready) { return is_ready ? cudaSuccess : report(cudaErrorNotReady); }

}  // namespace

void set_last_error(cudaError_t error) { report(error); }

size_t dynamic_shared_limit(const void* kernel) {
  const std::lock_guard lock(mutex);
  const auto it = shared_limits.find(kernel);
  return it == shared_limits.end() ? kDefaultSharedBytes : it->second;
}

}  // namespace sy::cuda_sim

using namespace sy::cuda_sim;

extern "C" {

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    default:
      return "simulated CUDA error";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : report(cudaErrorInvalidDevice); }

// A small Hopper: few multiprocessors, so that grids sized by them stay small.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return report(cudaErrorInvalidDevice);
  *properties = cudaDeviceProp{};
  std::strcpy(properties->name, "Simulated CUDA");
  properties->totalGlobalMem = size_t{8} << 30;
  properties->sharedMemPerBlock = kDefaultSharedBytes;
  properties->sharedMemPerBlockOptin = kMaxSharedBytes;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = kMaxThreadsPerBlock;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->multiProcessorCount = 4;
  properties->major = 9;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      return cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported:
      *value = 1;
      return cudaSuccess;
    default:
      return report(cudaErrorInvalidValue);
  }
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *total_bytes = size_t{8} << 30;
  *free_bytes = *total_bytes - static_cast<size_t>(device_bytes_in_use());
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return report(cudaErrorInvalidValue);
  if (value < 0 || static_cast<size_t>(value) > kMaxSharedBytes) return report(cudaErrorInvalidValue);
  const std::lock_guard lock(mutex);
  shared_limits[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return give(pointer, bytes, [](size_t n) { return allocate(n, Space::kDevice); });
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return give(pointer, bytes, [](size_t n) { return allocate(n, Space::kPinned); });
}
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  if (!is_stream(stream)) return report(cudaErrorInvalidResourceHandle);
  const cudaError_t error = give(pointer, bytes, promise);
  if (error != cudaSuccess || *pointer == nullptr) return error;
  enqueue(stream, "cudaMallocAsync", [memory = *pointer] {
    begin_use(memory);
    return true;
  });
  return cudaSuccess;
}
// Waits for the whole device.
cudaError_t cudaFree(void* pointer) {
  const KeepFaults keep;
  if (pointer == nullptr) return cudaSuccess;
  if (!claim_free(pointer, Space::kDevice)) return report(cudaErrorInvalidValue);
  host_waits(now_on_all_streams());
  release(pointer);
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const KeepFaults keep;
  if (!is_stream(stream)) return report(cudaErrorInvalidResourceHandle);
  if (pointer == nullptr) return cudaSuccess;
  if (!claim_free(pointer, Space::kDevice)) return report(cudaErrorInvalidValue);
  enqueue(stream, "cudaFreeAsync", [=] {
    release(pointer);
    return true;
  });
  return cudaSuccess;
}
// Does not wait: a copy that still needs the memory is a fault.
cudaError_t cudaFreeHost(void* pointer) {
  const KeepFaults keep;
  if (pointer == nullptr) return cudaSuccess;
  if (!claim_free(pointer, Space::kPinned)) return report(cudaErrorInvalidValue);
  release(pointer);
  return cudaSuccess;
}

// On the legacy stream. The host waits for the copy, except from pageable memory, where it only waits for what came
// before, and between device memory, where it does not wait.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaSuccess;
  if (!is_legal_copy(to, from, bytes, kind)) return report(cudaErrorInvalidValue);
  const bool is_on_device = is_device(to, bytes) && is_device(from, bytes);
  const bool is_upload = is_pageable(from) && !is_pageable(to);
  if (is_upload) host_waits(now(nullptr));
  enqueue_copy(to, from, bytes, nullptr);
  return is_on_device || is_upload ? cudaSuccess : host_waits(now(nullptr));
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (!is_stream(stream)) return report(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  if (!is_legal_copy(to, from, bytes, kind)) return report(cudaErrorInvalidValue);
  enqueue_copy(to, from, bytes, stream);
  if (is_pageable(to)) return host_waits(now(stream));
  if (is_pageable(from)) ++counters().host_syncs;  // the driver may wait before it stages the source
  return cudaSuccess;
}
cudaError_t cudaMemset(void* address, int value, size_t bytes) { return set(address, value, bytes, nullptr); }
cudaError_t cudaMemsetAsync(void* address, int value, size_t bytes, cudaStream_t stream) {
  return set(address, value, bytes, stream);
}
cudaError_t cudaMemset2DAsync(void* address, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t stream) {
  if (width > pitch) return report(cudaErrorInvalidValue);
  for (size_t row = 0; row < height; ++row)
    if (const cudaError_t error = set(static_cast<char*>(address) + row * pitch, value, width, stream);
        error != cudaSuccess)
      return error;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = create_stream(flags != cudaStreamNonBlocking);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const KeepFaults keep;
  if (stream == nullptr || !is_stream(stream)) return report(cudaErrorInvalidResourceHandle);
  destroy_stream(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return is_stream(stream) ? host_waits(now(stream)) : report(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return is_stream(stream) ? readiness(poll(now(stream))) : report(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event == nullptr || !is_stream(stream)) return report(cudaErrorInvalidResourceHandle);
  if (event->last != nullptr) wait_in_stream(stream, event->last);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  host_waits(now_on_all_streams());
  check_freed_memory();
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{.has_time = (flags & cudaEventDisableTiming) == 0, .last = {}};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event == nullptr || !is_stream(stream)) return report(cudaErrorInvalidResourceHandle);
  event->last = record(stream);
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ++counters().host_syncs;
  if (event->last != nullptr && !event->last->is_done) wait_for(event->last->point);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return readiness(event->last == nullptr || event->last->is_done || poll(event->last->point));
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  for (const cudaEvent_t event : {start, end})
    if (event->last == nullptr || !event->has_time) return report(cudaErrorInvalidResourceHandle);
  if (!start->last->is_done || !end->last->is_done) return report(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(end->last->time - start->last->time).count();
  return cudaSuccess;
}

}  // extern "C"
