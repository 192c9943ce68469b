// Streams and events: what order CUDA promises under every seed, and that what it does not promise shows under some.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/cuda/launch.cuh"

namespace {

using sy::cuda_sim::Fault;
using sy::kernels::cuda::launch;

constexpr uint64_t kEager = 0, kLazy = 1;
constexpr int kCount = 16;
constexpr size_t kBytes = kCount * sizeof(float);

class Streams : public testing::Test {
 protected:
  Streams() {
    cudaGetLastError();
    cudaStreamCreateWithFlags(&a_, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&b_, cudaStreamNonBlocking);
    cudaStreamCreate(&blocking_);
    cudaEventCreate(&event_);
    cudaMalloc(reinterpret_cast<void**>(&x_), kBytes);
    cudaMallocHost(reinterpret_cast<void**>(&pinned_), kBytes);
  }
  ~Streams() override {
    cudaFree(x_);
    cudaFreeHost(pinned_);
    cudaEventDestroy(event_);
    for (cudaStream_t stream : {a_, b_, blocking_}) cudaStreamDestroy(stream);
    sy::cuda_sim::set_schedule_seed(before_);
  }

  // Appends `name` to the log when it runs.
  void log(cudaStream_t stream, const std::string& name) {
    sy::cuda_sim::enqueue(stream, "log", [this, name] {
      log_.push_back(name);
      return true;
    });
  }
  using Log = std::vector<std::string>;

  cudaStream_t a_ = nullptr, b_ = nullptr, blocking_ = nullptr;
  cudaEvent_t event_ = nullptr;
  float* x_ = nullptr;
  float* pinned_ = nullptr;
  Log log_;

 private:
  uint64_t before_ = sy::cuda_sim::schedule_seed();
};

class EverySeed : public Streams, public testing::WithParamInterface<uint64_t> {
 protected:
  void SetUp() override { sy::cuda_sim::set_schedule_seed(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Seeds, EverySeed, testing::Values(kEager, kLazy, 2, 3, 4, 5, 12345));

class Lazy : public Streams {
 protected:
  void SetUp() override { sy::cuda_sim::set_schedule_seed(kLazy); }
};

__global__ void fill(float* x, float value) { x[threadIdx.x] = value; }
__global__ void copy_values(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }
void launch_fill(float* x, float value, cudaStream_t stream) {
  launch(fill, dim3(1), dim3(kCount), 0, stream, x, value);
}

TEST_P(EverySeed, AStreamRunsInItsOwnOrder) {
  std::vector<int> ran[2];
  for (int i = 0; i < 40; ++i)
    sy::cuda_sim::enqueue(i % 3 == 0 ? a_ : b_, "log", [&ran, i] {
      ran[i % 3 == 0 ? 0 : 1].push_back(i);
      return true;
    });
  cudaDeviceSynchronize();
  EXPECT_EQ(ran[0].size() + ran[1].size(), 40u);
  for (const auto& order : ran) EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(Streams, EqualSeedsGiveEqualOrdersAndAnotherSeedAnother) {
  const auto order = [&](uint64_t seed) {
    sy::cuda_sim::set_schedule_seed(seed);
    log_.clear();
    for (int i = 0; i < 30; ++i) log(i % 2 == 0 ? a_ : b_, std::to_string(i));
    cudaDeviceSynchronize();
    return log_;
  };
  EXPECT_EQ(order(7), order(7));
  EXPECT_NE(order(7), order(8));
  EXPECT_NE(order(kEager), order(kLazy));
}

TEST_F(Streams, SeedZeroRunsAtOnceAndSeedOneOnlyWhatTheHostWaitsFor) {
  sy::cuda_sim::set_schedule_seed(kEager);
  log(a_, "eager");
  EXPECT_EQ(log_, Log{"eager"});
  sy::cuda_sim::set_schedule_seed(kLazy);
  log_.clear();
  log(b_, "unwanted");
  log(a_, "first");
  cudaEventRecord(event_, a_);
  log(a_, "second");
  EXPECT_EQ(log_, Log{});
  cudaEventSynchronize(event_);
  EXPECT_EQ(log_, Log{"first"});
  cudaStreamSynchronize(a_);
  EXPECT_EQ(log_, (Log{"first", "second"}));
  cudaDeviceSynchronize();
  EXPECT_EQ(log_, (Log{"first", "second", "unwanted"}));
}

TEST_P(EverySeed, AWaitForAnEventOrdersTwoStreams) {
  launch_fill(x_, 5, a_);
  cudaEventRecord(event_, a_);
  cudaStreamWaitEvent(b_, event_, 0);
  cudaMemcpyAsync(pinned_, x_, kBytes, cudaMemcpyDeviceToHost, b_);
  cudaStreamSynchronize(b_);
  EXPECT_EQ(pinned_[kCount - 1], 5.0f);
}

TEST_F(Streams, AMissingWaitForAnEventShows) {
  int wrong = 0;
  for (uint64_t seed = kLazy; seed <= 20; ++seed) {
    sy::cuda_sim::set_schedule_seed(seed);
    cudaMemset(x_, 0, kBytes);
    cudaDeviceSynchronize();
    launch_fill(x_, 5, a_);
    cudaMemcpyAsync(pinned_, x_, kBytes, cudaMemcpyDeviceToHost, b_);
    cudaStreamSynchronize(b_);
    if (seed == kLazy) {
      EXPECT_EQ(pinned_[0], 0.0f);
    }
    wrong += pinned_[0] != 5.0f;
    cudaDeviceSynchronize();
  }
  EXPECT_GE(wrong, 4);
}

TEST_F(Lazy, AWaitIsForTheRecordBeforeItNotForALaterOne) {
  log(a_, "first");
  cudaEventRecord(event_, a_);
  cudaStreamWaitEvent(b_, event_, 0);
  log(a_, "second");
  cudaEventRecord(event_, a_);
  log(b_, "waiter");
  cudaStreamSynchronize(b_);
  EXPECT_EQ(log_, (Log{"first", "waiter"}));
  cudaEventSynchronize(event_);
  EXPECT_EQ(log_, (Log{"first", "waiter", "second"}));
}

TEST_F(Lazy, AWaitForAnEventThatWasNeverRecordedIsNone) {
  log(a_, "unwanted");
  EXPECT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  log(b_, "waiter");
  cudaStreamSynchronize(b_);
  EXPECT_EQ(log_, Log{"waiter"});
  EXPECT_EQ(cudaEventQuery(event_), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event_), cudaSuccess);
}

TEST_F(Lazy, ADestroyedEventStillHoldsItsWaiters) {
  log(a_, "first");
  cudaEvent_t event;
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  cudaEventRecord(event, a_);
  cudaStreamWaitEvent(b_, event, 0);
  cudaEventDestroy(event);
  log(b_, "waiter");
  cudaStreamSynchronize(b_);
  EXPECT_EQ(log_, (Log{"first", "waiter"}));
}

TEST_P(EverySeed, TheLegacyStreamWaitsForBlockingStreamsAndTheyForIt) {
  log(blocking_, "before");
  log(nullptr, "legacy");
  log(blocking_, "after");
  cudaDeviceSynchronize();
  EXPECT_EQ(log_, (Log{"before", "legacy", "after"}));
}

TEST_F(Lazy, TheLegacyStreamAndNonBlockingStreamsDoNotWaitForEachOther) {
  log(a_, "before");
  log(nullptr, "legacy");
  log(b_, "after");
  cudaStreamSynchronize(b_);
  EXPECT_EQ(log_, Log{"after"});
  cudaStreamSynchronize(nullptr);
  EXPECT_EQ(log_, (Log{"after", "legacy"}));
}

TEST_F(Lazy, ABlockingCopyDoesNotWaitForANonBlockingStream) {
  cudaMemset(x_, 0, kBytes);
  cudaDeviceSynchronize();
  launch_fill(x_, 5, a_);
  float host[kCount];
  cudaMemcpy(host, x_, kBytes, cudaMemcpyDeviceToHost);
  EXPECT_EQ(host[0], 0.0f);
  cudaStreamSynchronize(a_);
  launch_fill(x_, 6, blocking_);
  cudaMemcpy(host, x_, kBytes, cudaMemcpyDeviceToHost);
  EXPECT_EQ(host[0], 6.0f);
}

TEST_F(Streams, APinnedSourceThatIsOverwrittenTooEarlyShows) {
  const auto copied = [&](uint64_t seed, bool waits) {
    sy::cuda_sim::set_schedule_seed(seed);
    std::fill(pinned_, pinned_ + kCount, 1.0f);
    cudaMemcpyAsync(x_, pinned_, kBytes, cudaMemcpyHostToDevice, a_);
    if (waits) cudaStreamSynchronize(a_);
    std::fill(pinned_, pinned_ + kCount, 2.0f);
    cudaStreamSynchronize(a_);
    return x_[kCount - 1];
  };
  EXPECT_EQ(copied(kEager, false), 1.0f);
  EXPECT_EQ(copied(kLazy, false), 2.0f);
  EXPECT_EQ(copied(kLazy, true), 1.0f);
}

TEST_P(EverySeed, PageableMemoryIsReadAtTheCallAndWrittenBeforeItReturns) {
  std::vector<float> host(kCount, 1.0f);
  cudaMemcpyAsync(x_, host.data(), kBytes, cudaMemcpyHostToDevice, a_);
  std::fill(host.begin(), host.end(), 2.0f);
  cudaMemcpyAsync(host.data(), x_, kBytes, cudaMemcpyDeviceToHost, a_);
  EXPECT_EQ(host[kCount - 1], 1.0f);
}

// x_ is filled on a stream, read on b, and freed on a.
std::string read_while_freed(cudaStream_t a, cudaStream_t b, bool by_kernel, bool waits, float* pinned) {
  float* x = nullptr;
  cudaEvent_t filled, read;
  cudaEventCreate(&filled);
  cudaEventCreate(&read);
  cudaMallocAsync(reinterpret_cast<void**>(&x), kBytes, a);
  launch_fill(x, 5, a);
  cudaEventRecord(filled, a);
  cudaStreamWaitEvent(b, filled, 0);
  if (by_kernel) launch(copy_values, dim3(1), dim3(kCount), 0, b, x, pinned);
  else cudaMemcpyAsync(pinned, x, kBytes, cudaMemcpyDeviceToHost, b);
  cudaEventRecord(read, b);
  if (waits) cudaStreamWaitEvent(a, read, 0);
  cudaFreeAsync(x, a);
  cudaEventDestroy(filled);
  cudaEventDestroy(read);
  try {
    cudaStreamSynchronize(a);
    cudaStreamSynchronize(b);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

TEST_P(EverySeed, AFreeThatWaitsForTheReaderIsRight) {
  for (const bool by_kernel : {false, true}) {
    EXPECT_EQ(read_while_freed(a_, b_, by_kernel, true, pinned_), "");
    EXPECT_EQ(pinned_[0], 5.0f);
  }
}

TEST_F(Lazy, AFreeOnOneStreamWhileAnotherStillReadsShows) {
  const std::string text = read_while_freed(a_, b_, false, false, pinned_);
  EXPECT_NE(text.find("after the free of its memory"), std::string::npos) << text;
#if !defined(__SANITIZE_ADDRESS__)  // it ends the program at the kernel's read
  read_while_freed(a_, b_, true, false, pinned_);
  EXPECT_TRUE(std::isnan(pinned_[0]));
#endif
}

TEST_F(Lazy, MemoryUsedOnAnotherStreamBeforeItsAllocationIsAFault) {
  void* x = nullptr;
  cudaMallocAsync(&x, kBytes, a_);
  cudaMemsetAsync(x, 0, kBytes, b_);
  try {
    cudaStreamSynchronize(b_);
    ADD_FAILURE() << "no fault";
  } catch (const Fault& fault) {
    EXPECT_NE(std::string(fault.what()).find("before the allocation"), std::string::npos) << fault.what();
  }
  cudaFreeAsync(x, a_);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_F(Streams, AWriteAfterAFreeIsAFault) {
  float* x = nullptr;
  cudaMallocAsync(reinterpret_cast<void**>(&x), kBytes, a_);
  cudaFreeAsync(x, a_);
  cudaStreamSynchronize(a_);
  launch_fill(x, 5, b_);
  EXPECT_THROW(cudaDeviceSynchronize(), Fault);
  std::memset(x, 0xff, kBytes);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}
#endif

TEST_F(Lazy, PinnedMemoryFreedUnderACopyIsAFault) {
  void* pinned = nullptr;
  cudaMallocHost(&pinned, kBytes);
  cudaMemcpyAsync(x_, pinned, kBytes, cudaMemcpyHostToDevice, a_);
  cudaFreeHost(pinned);
  EXPECT_THROW(cudaStreamSynchronize(a_), Fault);
}

TEST_F(Lazy, QueriesSayNotReadyAndLetTheDeviceGoOn) {
  log(a_, "first");
  cudaEventRecord(event_, a_);
  log(a_, "second");
  EXPECT_EQ(cudaEventQuery(event_), cudaErrorNotReady);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady) << "the runtime keeps it, so whoever polls must clear it";
  int polls = 0;
  while (cudaEventQuery(event_) == cudaErrorNotReady) ASSERT_LT(++polls, 10);
  EXPECT_EQ(log_, Log{"first"});
  EXPECT_EQ(cudaStreamQuery(a_), cudaErrorNotReady);
  while (cudaStreamQuery(a_) == cudaErrorNotReady) ASSERT_LT(++polls, 20);
  EXPECT_EQ(log_, (Log{"first", "second"}));
  cudaGetLastError();
}

TEST_P(EverySeed, PollingReachesTheEnd) {
  for (int i = 0; i < 10; ++i) log(i % 2 == 0 ? a_ : b_, "x");
  cudaEventRecord(event_, b_);
  int polls = 0;
  while (cudaEventQuery(event_) == cudaErrorNotReady) ASSERT_LT(++polls, 10000);
  EXPECT_GE(log_.size(), 5u);
  cudaGetLastError();
}

TEST_F(Lazy, AnOperationThatPollsHoldsItsStreamOnly) {
  bool arrived = false;
  sy::cuda_sim::enqueue(a_, "poll", [&] { return arrived; });
  log(a_, "after");
  log(b_, "other");
  cudaStreamSynchronize(b_);
  for (int i = 0; i < 5; ++i) sy::cuda_sim::progress();
  EXPECT_EQ(log_, Log{"other"});
  arrived = true;
  for (int i = 0; i < 5; ++i) sy::cuda_sim::progress();
  EXPECT_EQ(log_, (Log{"other", "after"})) << "the device goes on without the host waiting for it";
}

TEST_F(Lazy, WhatAPollWaitsForMayBeOnAnyStream) {
  bool arrived = false;
  sy::cuda_sim::enqueue(a_, "poll", [&] { return arrived; });
  sy::cuda_sim::enqueue(b_, "arrive", [&] { return arrived = true; });
  cudaStreamSynchronize(a_);
  EXPECT_TRUE(arrived);
}

__global__ void faulty(int* out) {
  if (threadIdx.x == 0) __syncthreads();
  *out = 1;
}

TEST_F(Lazy, AFaultLeavesTheCallThatRunsTheKernelAndEndsWhatWasEnqueued) {
  int out = 0;
  launch(faulty, dim3(1), dim3(32), 0, a_, &out);
  log(b_, "enqueued before the fault");
  EXPECT_THROW(cudaStreamSynchronize(a_), Fault);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(log_, Log{});
  log(b_, "after");
  cudaDeviceSynchronize();
  EXPECT_EQ(log_, Log{"after"});
}

TEST_F(Lazy, CallsOfDestructorsKeepAFaultForTheNextCall) {
  int out = 0;
  launch(faulty, dim3(1), dim3(32), 0, blocking_, &out);
  EXPECT_NO_THROW(cudaStreamDestroy(blocking_));
  EXPECT_THROW(cudaMemsetAsync(x_, 0, kBytes, a_), Fault);
  EXPECT_NO_THROW(cudaMemsetAsync(x_, 0, kBytes, a_));
  cudaStreamCreate(&blocking_);
}

TEST(StreamsDeathTest, AFaultThatNoCallHasThrownEndsTheProgramWithAnError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        sy::cuda_sim::set_schedule_seed(kLazy);
        cudaStream_t stream;
        cudaStreamCreate(&stream);
        sy::cuda_sim::enqueue(stream, "fault", []() -> bool { throw Fault("lost"); });
        cudaStreamDestroy(stream);
        std::exit(0);
      },
      testing::ExitedWithCode(1), "a fault that no call has thrown");
}

TEST_F(Lazy, DestroyingAStreamCompletesItsWork) {
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  log(stream, "last");
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(log_, Log{"last"});
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  launch_fill(x_, 5, stream);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
}

TEST_F(Lazy, ElapsedTimeNeedsBothRecordsToHaveHappened) {
  cudaEvent_t end, untimed;
  cudaEventCreate(&end);
  cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming);
  cudaEventRecord(event_, a_);
  cudaEventRecord(end, a_);
  cudaEventRecord(untimed, a_);
  float ms = -1;
  EXPECT_EQ(cudaEventElapsedTime(&ms, event_, end), cudaErrorNotReady);
  cudaStreamSynchronize(a_);
  EXPECT_EQ(cudaEventElapsedTime(&ms, event_, end), cudaSuccess);
  EXPECT_GE(ms, 0.0f);
  EXPECT_EQ(cudaEventElapsedTime(&ms, event_, untimed), cudaErrorInvalidResourceHandle);
  cudaEventDestroy(end);
  cudaEventDestroy(untimed);
  cudaGetLastError();
}

}  // namespace
