// Programmatic dependent launch: what a kernel may see before and after its wait, under every seed.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/cuda/hopper/warpgroup.cuh"
#include "kernels/cuda/launch.cuh"
#include "tests/cuda_sim/executor.h"

namespace {

using namespace sy::kernels::cuda;
using sy::cuda_sim::Fault;

constexpr unsigned kBlocks = 3, kThreads = 40;
constexpr int kCount = kBlocks * kThreads;
constexpr size_t kBytes = kCount * sizeof(int);
constexpr int kOld = 1, kNew = 7;

enum class Trigger : uint8_t { kNone, kBeforeWriting };

__global__ void write_kernel(int* y, int value, Trigger trigger) {
  if (trigger == Trigger::kBeforeWriting) start_dependent_kernels();
  y[global_thread()] = value;
}

// What threads find in y before and after their wait. Threads of odd numbers leave the wait to the others.
__global__ void look_kernel(const int* y, int* early, int* late) {
  start_dependent_kernels();
  early[global_thread()] = y[global_thread()];
  if (threadIdx.x % 2 == 0) wait_for_earlier_kernels();
  __syncthreads();
  late[global_thread()] = y[global_thread()];
}

__global__ void careless_kernel(const int* y, int* seen) { seen[global_thread()] = y[global_thread()]; }

class DependentLaunch : public testing::TestWithParam<uint64_t> {
 protected:
  DependentLaunch() {
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    for (int** p : {&y_, &early_, &late_}) cudaMalloc(reinterpret_cast<void**>(p), kBytes);
    const std::vector<int> old(kCount, kOld);
    cudaMemcpy(y_, old.data(), kBytes, cudaMemcpyHostToDevice);
    sy::cuda_sim::set_schedule_seed(GetParam());
  }
  ~DependentLaunch() override {
    for (int* p : {y_, early_, late_}) cudaFree(p);
    cudaStreamDestroy(stream_);
    sy::cuda_sim::set_schedule_seed(before_);
  }

  void write(Trigger trigger) { launch(write_kernel, kBlocks, kThreads, 0, stream_, y_, kNew, trigger); }
  template <class... Arguments>
  void look(void (*kernel)(Arguments...), Arguments... arguments) {
    launch_early(kernel, kBlocks, kThreads, 0, stream_, arguments...);
  }
  void look() { look<const int*, int*, int*>(look_kernel, y_, early_, late_); }
  std::vector<int> values(const int* device) {
    std::vector<int> host(kCount);
    cudaStreamSynchronize(stream_);
    cudaMemcpy(host.data(), device, kBytes, cudaMemcpyDeviceToHost);
    return host;
  }
  static std::vector<int> all(int value) { return std::vector<int>(kCount, value); }

  cudaStream_t stream_ = nullptr;
  int *y_ = nullptr, *early_ = nullptr, *late_ = nullptr;

 private:
  uint64_t before_ = sy::cuda_sim::schedule_seed();
};
INSTANTIATE_TEST_SUITE_P(Seeds, DependentLaunch, testing::Values(0, 1, 11, 12345));

TEST_P(DependentLaunch, WhatTheKernelBeforeWritesAppearsWithTheWait) {
  write(Trigger::kBeforeWriting);
  look();
  EXPECT_EQ(values(early_), all(kOld));
  EXPECT_EQ(values(late_), all(kNew));
  EXPECT_EQ(values(y_), all(kNew));
}

TEST_P(DependentLaunch, WithoutATriggerTheKernelBeforeIsCompleteFirst) {
  write(Trigger::kNone);
  look();
  EXPECT_EQ(values(early_), all(kNew));
}

TEST_P(DependentLaunch, AKernelLaunchedInOrderStartsWhenTheOneBeforeIsComplete) {
  write(Trigger::kBeforeWriting);
  launch(look_kernel, kBlocks, kThreads, 0, stream_, y_, early_, late_);
  EXPECT_EQ(values(early_), all(kNew));
}

TEST_P(DependentLaunch, WhatStandsBetweenTheKernelsOrdersThem) {
  write(Trigger::kBeforeWriting);
  cudaMemsetAsync(late_, 0, kBytes, stream_);
  look();
  EXPECT_EQ(values(early_), all(kNew)) << "an operation of the stream";

  launch(write_kernel, kBlocks, kThreads, 0, stream_, y_, kOld, Trigger::kBeforeWriting);
  cudaStreamSynchronize(stream_);
  look();
  EXPECT_EQ(values(early_), all(kOld)) << "a wait of the host";
}

TEST_P(DependentLaunch, AChainSeesWhatStoodBeforeTheKernelThatIsNotComplete) {
  write(Trigger::kBeforeWriting);
  look();
  int *early = nullptr, *late = nullptr;
  for (int** p : {&early, &late}) cudaMalloc(reinterpret_cast<void**>(p), kBytes);
  look<const int*, int*, int*>(look_kernel, late_, early, late);
  EXPECT_EQ(values(late), all(kNew));
  EXPECT_NE(values(early), all(kNew));
  for (int* p : {early, late}) cudaFree(p);
}

TEST_P(DependentLaunch, AKernelThatReadsWithoutAWaitIsAFaultAndHasSeenOldValues) {
  write(Trigger::kBeforeWriting);
  std::string fault;
  try {
    look<const int*, int*>(careless_kernel, y_, early_);
    cudaStreamSynchronize(stream_);
  } catch (const Fault& e) {
    fault = e.what();
  }
  EXPECT_EQ(fault,
            "simulated CUDA: a block of a kernel that was launched early ends without a wait for the kernels before "
            "it");
  EXPECT_EQ(values(early_)[0], kOld);
  EXPECT_EQ(values(y_), all(kNew));
}

}  // namespace
