// The simulated runtime: memory, copies, streams, events, attributes, and the synchronisation counter.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/cuda_sim/executor.h"

namespace {

using sy::cuda_sim::counters;
using sy::cuda_sim::device_bytes_in_use;
using sy::cuda_sim::reset_counters;

class Runtime : public testing::Test {
 protected:
  void SetUp() override {
    cudaGetLastError();
    reset_counters();
  }
};

float* device_floats(size_t count) {
  void* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, count * sizeof(float)), cudaSuccess);
  return static_cast<float*>(p);
}

TEST_F(Runtime, MemoryMakesTheRoundTripAndIsAccountedFor) {
  const int64_t before = device_bytes_in_use();
  float* a = device_floats(100);
  float* b = device_floats(100);
  EXPECT_EQ(device_bytes_in_use(), before + 800);
  std::vector<float> x(100, 3.0f), y(100, 0.0f);
  EXPECT_EQ(cudaMemcpy(a, x.data(), 400, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemcpyAsync(b, a, 400, cudaMemcpyDeviceToDevice, nullptr), cudaSuccess);
  EXPECT_EQ(cudaMemset(b, 0, 40), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(y.data(), b, 400, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(y[9], 0.0f);
  EXPECT_EQ(y[10], 3.0f);
  EXPECT_EQ(cudaFree(a), cudaSuccess);
  EXPECT_EQ(cudaFreeAsync(b, nullptr), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(device_bytes_in_use(), before);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
}

TEST_F(Runtime, FreshMemoryReadsAsNan) {
  float* a = device_floats(4);
  EXPECT_TRUE(std::isnan(a[3]));
  cudaFree(a);
}

TEST_F(Runtime, ACopyThatLeavesItsAllocationOrItsDirectionFails) {
  float* a = device_floats(10);
  std::vector<float> x(20, 1.0f);
  EXPECT_EQ(cudaMemcpy(a, x.data(), 44, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a + 5, x.data(), 24, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(x.data(), a, 40, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(x.data(), x.data() + 10, 40, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(x.data(), 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(a, 0, 41), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a + 5, x.data(), 20, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(a + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(a), cudaSuccess);
  EXPECT_EQ(cudaFree(a), cudaErrorInvalidValue);
}

TEST_F(Runtime, OnlyCallsThatMakeTheHostWaitAreCounted) {
  float* a = device_floats(10);
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 40), cudaSuccess);
  std::vector<float> pageable(10);
  cudaStream_t stream;
  cudaEvent_t event;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  cudaMemsetAsync(a, 0, 40, stream);
  cudaMemcpyAsync(pinned, a, 40, cudaMemcpyDeviceToHost, stream);
  cudaEventRecord(event, stream);
  cudaStreamWaitEvent(stream, event, 0);
  cudaEventQuery(event);
  cudaStreamQuery(stream);
  EXPECT_EQ(counters().host_syncs, 0);
  cudaMemcpyAsync(pageable.data(), a, 40, cudaMemcpyDeviceToHost, stream);
  EXPECT_EQ(counters().host_syncs, 1);
  cudaMemcpy(pinned, a, 40, cudaMemcpyDeviceToHost);
  EXPECT_EQ(counters().host_syncs, 2);
  cudaStreamSynchronize(stream);
  cudaEventSynchronize(event);
  cudaDeviceSynchronize();
  EXPECT_EQ(counters().host_syncs, 5);
  cudaFree(a);
  EXPECT_EQ(counters().host_syncs, 6);
  EXPECT_EQ(counters().allocations, 1);
  cudaFreeHost(pinned);
  cudaEventDestroy(event);
  cudaStreamDestroy(stream);
}

TEST_F(Runtime, EventsMeasureTimeOnceRecorded) {
  cudaEvent_t start, end;
  cudaEventCreate(&start);
  cudaEventCreate(&end);
  float ms = -1;
  EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaErrorInvalidResourceHandle);
  cudaEventRecord(start, nullptr);
  cudaEventRecord(end, nullptr);
  cudaDeviceSynchronize();
  EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaSuccess);
  EXPECT_GE(ms, 0.0f);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
}

TEST_F(Runtime, TheDeviceIsASmallHopper) {
  int count = 0, value = 0;
  cudaDeviceProp properties;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_STREQ(properties.name, "Simulated CUDA");
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), cudaSuccess);
  EXPECT_EQ(value, 227 * 1024);
  EXPECT_STREQ(cudaGetErrorString(cudaErrorInvalidDevice), "cudaErrorInvalidDevice");
}

}  // namespace
