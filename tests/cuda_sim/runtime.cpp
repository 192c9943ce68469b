// Simulated CUDA: the used slice of the CUDA runtime, as synchronous calls on host memory.
//
// Device memory is heap memory filled with 0xff bytes (NaN as floats). Copies check that each side lies inside one
// allocation of the kind that the direction names, as a real device would fault. Everything has happened when a call
// returns; calls after which a real host would have waited for the device are counted.
#include <cuda_runtime.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "tests/cuda_sim/access_checker.h"
#include "tests/cuda_sim/executor.h"

struct CUstream_st {};

struct CUevent_st {
  std::chrono::steady_clock::time_point time{};
  bool recorded = false;
};

namespace sy::cuda_sim {
namespace {

enum class Space { kDevice, kPinned };
struct Allocation {
  size_t bytes;
  Space space;
};

std::mutex mutex;
std::map<const unsigned char*, Allocation> allocations;
std::map<const void*, size_t> shared_limits;
int64_t device_bytes = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

// The allocation that contains address, or none.
const std::pair<const unsigned char* const, Allocation>* find(const void* address) {
  const auto* p = static_cast<const unsigned char*>(address);
  auto it = allocations.upper_bound(p);
  if (it == allocations.begin()) return nullptr;
  --it;
  // One past the end belongs to it too: an empty range may stand there.
  return p <= it->first + it->second.bytes ? &*it : nullptr;
}

bool inside_device(const void* address, size_t bytes) {
  const auto* found = find(address);
  if (found == nullptr || found->second.space != Space::kDevice) return false;
  return static_cast<const unsigned char*>(address) + bytes <= found->first + found->second.bytes;
}

bool is_pageable(const void* address) { return find(address) == nullptr; }

cudaError_t allocate(void** pointer, size_t bytes, Space space) {
  if (pointer == nullptr) return report(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  void* memory = nullptr;
  if (posix_memalign(&memory, 512, bytes) != 0) return report(cudaErrorMemoryAllocation);
  std::memset(memory, 0xff, bytes);
  const std::lock_guard lock(mutex);
  allocations[static_cast<unsigned char*>(memory)] = {bytes, space};
  access_checker::allocated(memory, bytes, space == Space::kPinned);
  if (space == Space::kDevice) {
    device_bytes += static_cast<int64_t>(bytes);
    ++counters().allocations;
  }
  *pointer = memory;
  return cudaSuccess;
}

cudaError_t release(void* pointer, Space space) {
  if (pointer == nullptr) return cudaSuccess;
  const std::lock_guard lock(mutex);
  const auto it = allocations.find(static_cast<unsigned char*>(pointer));
  if (it == allocations.end() || it->second.space != space) return report(cudaErrorInvalidValue);
  if (space == Space::kDevice) device_bytes -= static_cast<int64_t>(it->second.bytes);
  allocations.erase(it);
  access_checker::released(pointer);
  std::free(pointer);
  return cudaSuccess;
}

// Moves the bytes. Sets `host_waits` when a real asynchronous copy would have to wait (pageable host memory).
cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, bool* host_waits) {
  if (bytes == 0) return cudaSuccess;
  const std::lock_guard lock(mutex);
  const bool to_device = inside_device(to, bytes), from_device = inside_device(from, bytes);
  const bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault && (to_device != wants_to || from_device != wants_from))
    return report(cudaErrorInvalidValue);
  *host_waits = (!to_device && is_pageable(to)) || (!from_device && is_pageable(from));
  std::memmove(to, from, bytes);
  access_checker::copied(to, from, bytes);
  return cudaSuccess;
}

cudaError_t set(void* address, int value, size_t bytes) {
  if (bytes == 0) return cudaSuccess;
  const std::lock_guard lock(mutex);
  if (!inside_device(address, bytes)) return report(cudaErrorInvalidValue);
  std::memset(address, value, bytes);
  access_checker::written(address, bytes);
  return cudaSuccess;
}

cudaError_t host_waited() {
  ++counters().host_syncs;
  return cudaSuccess;
}

}  // namespace

void set_last_error(cudaError_t error) { report(error); }

size_t dynamic_shared_limit(const void* kernel) {
  const std::lock_guard lock(mutex);
  const auto it = shared_limits.find(kernel);
  return it == shared_limits.end() ? kDefaultSharedBytes : it->second;
}

int64_t device_bytes_in_use() {
  const std::lock_guard lock(mutex);
  return device_bytes;
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

cudaError_t cudaMalloc(void** pointer, size_t bytes) { return allocate(pointer, bytes, Space::kDevice); }
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t) {
  return allocate(pointer, bytes, Space::kDevice);
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return allocate(pointer, bytes, Space::kPinned); }
cudaError_t cudaFree(void* pointer) {
  if (pointer != nullptr) host_waited();  // a real cudaFree synchronises the device
  return release(pointer, Space::kDevice);
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) { return release(pointer, Space::kDevice); }
cudaError_t cudaFreeHost(void* pointer) { return release(pointer, Space::kPinned); }

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  bool host_waits = false;
  host_waited();
  return copy(to, from, bytes, kind, &host_waits);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  bool host_waits = false;
  const cudaError_t error = copy(to, from, bytes, kind, &host_waits);
  if (host_waits) host_waited();
  return error;
}
cudaError_t cudaMemset(void* address, int value, size_t bytes) { return set(address, value, bytes); }
cudaError_t cudaMemsetAsync(void* address, int value, size_t bytes, cudaStream_t) { return set(address, value, bytes); }

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return host_waited(); }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
  return event != nullptr ? cudaSuccess : report(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaDeviceSynchronize() { return host_waited(); }

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  if (event == nullptr) return report(cudaErrorInvalidResourceHandle);
  event->time = std::chrono::steady_clock::now();
  event->recorded = true;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return host_waited(); }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!start->recorded || !end->recorded) return report(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

}  // extern "C"
