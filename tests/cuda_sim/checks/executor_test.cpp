// The block executor: indices, barriers, warp collectives, atomics, shared memory; and every fault that it must report.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "csrc/core/check.h"
#include "kernels/cuda/launch.cuh"

namespace {

using sy::cuda_sim::Fault;
using sy::kernels::cuda::dynamic_shared;
using sy::kernels::cuda::kFullMask;
using sy::kernels::cuda::launch;

// Launches and waits.
template <class... P, class... A>
void run(void (*kernel)(P...), dim3 grid, dim3 block, size_t dynamic_shared_bytes, A... args) {
  launch(kernel, grid, block, dynamic_shared_bytes, nullptr, args...);
  CUDA_CHECK(cudaDeviceSynchronize());
}

// Runs `kernel` and returns the text of the fault that it must raise.
template <class... P, class... A>
std::string fault_of(void (*kernel)(P...), dim3 grid, dim3 block, A... args) {
  try {
    run(kernel, grid, block, 0, args...);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "no fault";
}

class Executor : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override { sy::cuda_sim::set_schedule_seed(GetParam()); }
  void TearDown() override { sy::cuda_sim::set_schedule_seed(before_); }

 private:
  uint64_t before_ = sy::cuda_sim::schedule_seed();
};
INSTANTIATE_TEST_SUITE_P(Schedules, Executor, testing::Values(0, 1, 12345));

__global__ void write_indices(int* out, int* dims) {
  const int block = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  const int threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  out[block * threads + thread] += 1 + block * threads + thread;
  dims[0] = static_cast<int>(gridDim.z), dims[1] = static_cast<int>(blockDim.y);
}

TEST_P(Executor, EveryThreadOfA3dGridRunsOnceWithItsOwnIndices) {
  std::vector<int> out(2 * 3 * 2 * 4 * 3 * 5, 0), dims(2);
  run(write_indices, dim3(2, 3, 2), dim3(4, 3, 5), 0, out.data(), dims.data());
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], static_cast<int>(i) + 1);
  EXPECT_EQ(dims[0], 2);
  EXPECT_EQ(dims[1], 3);
}

// Each block reverses its part in shared memory, twice through the same buffer.
__global__ void reverse(const int* x, int* y, int rounds) {
  __shared__ int buffer[1024];
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x),
            base = static_cast<int>(blockIdx.x) * n;
  int value = x[base + i];
  for (int r = 0; r < rounds; ++r) {
    buffer[i] = value;
    __syncthreads();
    value = buffer[n - 1 - i];
    __syncthreads();
  }
  y[base + i] = value;
}

TEST_P(Executor, BarriersOrderSharedMemoryForEveryBlockSize) {
  for (const int threads : {1, 2, 31, 32, 33, 256, 1024}) {
    std::vector<int> x(static_cast<size_t>(threads) * 3), y(x.size());
    std::iota(x.begin(), x.end(), 0);
    run(reverse, dim3(3), dim3(static_cast<unsigned>(threads)), 0, x.data(), y.data(), 3);
    for (int b = 0; b < 3; ++b)
      for (int i = 0; i < threads; ++i) ASSERT_EQ(y[b * threads + i], x[b * threads + threads - 1 - i]);
  }
}

__global__ void reverse_without_barrier(const int* x, int* y) {
  __shared__ int buffer[1024];
  buffer[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}

TEST(ExecutorSchedule, AMissingBarrierGivesAWrongResult) {
  std::vector<int> x(64), y(64);
  std::iota(x.begin(), x.end(), 1000);
  run(reverse_without_barrier, dim3(1), dim3(64), 0, x.data(), y.data());
  std::reverse(y.begin(), y.end());
  EXPECT_NE(x, y);
}

__global__ void append_thread(int* list, int* length) { list[(*length)++] = static_cast<int>(threadIdx.x); }

TEST(ExecutorSchedule, EqualSeedsGiveEqualOrdersAndAnotherSeedAnother) {
  const uint64_t before = sy::cuda_sim::schedule_seed();
  const auto order = [&](uint64_t seed) {
    sy::cuda_sim::set_schedule_seed(seed);
    std::vector<int> list(64);
    int length = 0;
    run(append_thread, dim3(1), dim3(64), 0, list.data(), &length);
    sy::cuda_sim::set_schedule_seed(before);
    return list;
  };
  EXPECT_EQ(order(7), order(7));
  EXPECT_NE(order(7), order(8));
  std::vector<int> ascending(64);
  std::iota(ascending.begin(), ascending.end(), 0);
  EXPECT_EQ(order(0), ascending);
}

__global__ void dynamic_sum(const double* x, double* total, float* first_bytes) {
  double* buffer = dynamic_shared<double>();
  if (threadIdx.x == 0) *first_bytes = dynamic_shared<float>()[1];
  __syncthreads();
  buffer[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    for (unsigned i = 0; i < blockDim.x; ++i) sum += buffer[i];
    *total = sum;
  }
}

TEST_P(Executor, DynamicSharedMemoryIsSharedAndStartsAsNan) {
  std::vector<double> x(128, 0.5);
  double total = 0;
  float first = 0;
  run(dynamic_sum, dim3(1), dim3(128), 128 * sizeof(double), x.data(), &total, &first);
  EXPECT_EQ(total, 64.0);
  EXPECT_TRUE(std::isnan(first));
}

template <class V>
__global__ void shuffles(V* out) {
  const V lane = static_cast<V>(threadIdx.x % 32);
  V* row = out + threadIdx.x * 8;
  row[0] = __shfl_sync(kFullMask, lane, 5);
  row[1] = __shfl_sync(kFullMask, lane, 3, 8);
  row[2] = __shfl_up_sync(kFullMask, lane, 2);
  row[3] = __shfl_up_sync(kFullMask, lane, 3, 16);
  row[4] = __shfl_down_sync(kFullMask, lane, 4);
  row[5] = __shfl_down_sync(kFullMask, lane, 1, 4);
  row[6] = __shfl_xor_sync(kFullMask, lane, 16);
  row[7] = __shfl_xor_sync(kFullMask, lane, 1, 2);
}

template <class V>
void check_shuffles() {
  std::vector<V> out(64 * 8);
  run(shuffles<V>, dim3(1), dim3(64), 0, out.data());
  for (int t = 0; t < 64; ++t) {
    const int lane = t % 32;
    const V* row = out.data() + t * 8;
    EXPECT_EQ(row[0], V(5));
    EXPECT_EQ(row[1], V(lane / 8 * 8 + 3));
    EXPECT_EQ(row[2], V(lane >= 2 ? lane - 2 : lane));
    EXPECT_EQ(row[3], V(lane % 16 >= 3 ? lane - 3 : lane));
    EXPECT_EQ(row[4], V(lane + 4 < 32 ? lane + 4 : lane));
    EXPECT_EQ(row[5], V(lane % 4 + 1 < 4 ? lane + 1 : lane));
    EXPECT_EQ(row[6], V(lane ^ 16));
    EXPECT_EQ(row[7], V(lane ^ 1));
  }
}

TEST_P(Executor, ShufflesMoveValuesOfEveryWidth) {
  check_shuffles<int>();
  check_shuffles<float>();
  check_shuffles<double>();
  check_shuffles<int64_t>();
}

__global__ void votes(unsigned* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  unsigned* row = out + threadIdx.x * 5;
  row[0] = __ballot_sync(kFullMask, lane % 3 == 0);
  row[1] = static_cast<unsigned>(__any_sync(kFullMask, lane == 40));
  row[2] = static_cast<unsigned>(__all_sync(kFullMask, lane < 32));
  row[3] = __match_any_sync(kFullMask, lane % 4);
  // Halves of a warp may go different ways under their own masks.
  row[4] = lane < 16 ? __ballot_sync(0x0000ffffu, lane == 3) : __ballot_sync(0xffff0000u, lane == 20);
}

TEST_P(Executor, VotesSeeTheLanesOfTheirMask) {
  std::vector<unsigned> out(64 * 5);
  run(votes, dim3(1), dim3(64), 0, out.data());
  for (int t = 0; t < 64; ++t) {
    const unsigned* row = out.data() + t * 5;
    EXPECT_EQ(row[0], 0x49249249u);
    EXPECT_EQ(row[1], 0u);
    EXPECT_EQ(row[2], 1u);
    EXPECT_EQ(row[3], 0x11111111u << (t % 4));
    EXPECT_EQ(row[4], t % 32 < 16 ? 1u << 3 : 1u << 20);
  }
}

__global__ void warp_prefix(int* out) {
  int sum = static_cast<int>(threadIdx.x) + 1;
  for (int d = 1; d < 32; d *= 2) {
    const int other = __shfl_up_sync(kFullMask, sum, static_cast<unsigned>(d));
    if (static_cast<int>(threadIdx.x % 32) >= d) sum += other;
  }
  __shared__ int total[2];
  if (threadIdx.x % 32 == 31) total[threadIdx.x / 32] = sum;
  __syncthreads();
  out[threadIdx.x] = sum + (threadIdx.x >= 32 ? total[0] : 0);
}

TEST_P(Executor, WarpCollectivesAndBarriersMix) {
  std::vector<int> out(64);
  run(warp_prefix, dim3(1), dim3(64), 0, out.data());
  for (int i = 0; i < 64; ++i) EXPECT_EQ(out[i], (i + 1) * (i + 2) / 2);
}

__global__ void integer_atomics(int* sum, unsigned* bits, unsigned long long* largest, int* smallest, int* swaps) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(sum, i);
  atomicOr(bits, 1u << (i % 32));
  atomicMax(largest, static_cast<unsigned long long>(i) << 33);
  atomicMin(smallest, -i);
  if (atomicCAS(swaps, i, i + 1) == i) atomicExch(swaps + 1, i);
}

TEST_P(Executor, IntegerAtomicsAddUpAndAreNotCountedAsFloat) {
  sy::cuda_sim::reset_counters();
  int sum = 0, smallest = 0, swaps[2] = {0, -1};
  unsigned bits = 0;
  unsigned long long largest = 0;
  run(integer_atomics, dim3(4), dim3(64), 0, &sum, &bits, &largest, &smallest, swaps);
  EXPECT_EQ(sum, 255 * 256 / 2);
  EXPECT_EQ(bits, kFullMask);
  EXPECT_EQ(largest, 255ull << 33);
  EXPECT_EQ(smallest, -255);
  EXPECT_GE(swaps[1], 0);
  EXPECT_EQ(sy::cuda_sim::counters().float_atomics, 0);
  EXPECT_EQ(sy::cuda_sim::counters().blocks, 4);
  EXPECT_EQ(sy::cuda_sim::counters().launches, 1);
}

__global__ void float_atomics(float* f, double* d) {
  atomicAdd(f, 1.0f);
  atomicAdd(d, 1.0);
}

TEST_P(Executor, FloatAtomicsAreCounted) {
  sy::cuda_sim::reset_counters();
  float f = 0;
  double d = 0;
  run(float_atomics, dim3(1), dim3(32), 0, &f, &d);
  EXPECT_EQ(f, 32.0f);
  EXPECT_EQ(d, 32.0);
  EXPECT_EQ(sy::cuda_sim::counters().float_atomics, 64);
}

__global__ void exit_before_barrier(int leaver) {
  if (static_cast<int>(threadIdx.x) == leaver) return;
  __syncthreads();
}

TEST_P(Executor, AThreadThatExitsBeforeABarrierIsReported) {
  for (const int leaver : {0, 17, 63}) {
    const std::string text = fault_of(exit_before_barrier, dim3(1), dim3(64), leaver);
    EXPECT_NE(text.find("exited"), std::string::npos) << text;
    EXPECT_NE(text.find("waits at the barrier executor_test.cpp"), std::string::npos) << text;
  }
  EXPECT_EQ(fault_of(exit_before_barrier, dim3(1), dim3(64), 64), "no fault");
}

__global__ void two_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST_P(Executor, ThreadsAtDifferentBarriersAreReported) {
  const std::string text = fault_of(two_barriers, dim3(1), dim3(64));
  EXPECT_NE(text.find("divergent barrier"), std::string::npos) << text;
}

__global__ void barrier_against_shuffle(int* out) {
  if (threadIdx.x % 32 == 7) __syncthreads();
  *out = __shfl_sync(kFullMask, 1, 0);
  __syncthreads();
}

TEST_P(Executor, ABarrierAgainstAShuffleIsADeadlock) {
  int out = 0;
  const std::string text = fault_of(barrier_against_shuffle, dim3(1), dim3(32), &out);
  EXPECT_NE(text.find("cannot go on"), std::string::npos) << text;
  EXPECT_NE(text.find("waits in the warp collective"), std::string::npos) << text;
}

__global__ void lane_exits(int* out) {
  if (threadIdx.x % 32 == 9) return;
  *out = __shfl_xor_sync(kFullMask, 1, 1);
}
__global__ void masks_differ(unsigned* out) { *out = __ballot_sync(threadIdx.x == 3 ? 0x0000000fu : 0x000000ffu, 1); }
__global__ void mask_without_self(unsigned* out) { *out = __ballot_sync(0x0000000fu, 1); }
__global__ void full_mask_in_small_block(unsigned* out) { *out = __ballot_sync(kFullMask, 1); }
__global__ void shuffle_from_outside(int* out) {
  if (threadIdx.x < 16) *out = __shfl_sync(0x0000ffffu, 1, 20);
}
__global__ void different_statements(int* out) {
  if (threadIdx.x < 16) {
    *out = __shfl_sync(kFullMask, 1, 0);
  } else {
    *out = __shfl_sync(kFullMask, 2, 0);
  }
}

TEST_P(Executor, DivergentMasksAreReported) {
  int value = 0;
  unsigned bits = 0;
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  std::string text = fault_of(lane_exits, dim3(1), dim3(32), &value);
  EXPECT_TRUE(contains(text, "exited")) << text;
  text = fault_of(masks_differ, dim3(1), dim3(8), &bits);
  EXPECT_TRUE(contains(text, "divergent warp collective")) << text;
  text = fault_of(mask_without_self, dim3(1), dim3(8), &bits);
  EXPECT_TRUE(contains(text, "leaves out the calling lane")) << text;
  text = fault_of(full_mask_in_small_block, dim3(1), dim3(16), &bits);
  EXPECT_TRUE(contains(text, "which the block does not have")) << text;
  text = fault_of(shuffle_from_outside, dim3(1), dim3(32), &value);
  EXPECT_TRUE(contains(text, "shuffle from lane 20")) << text;
  text = fault_of(different_statements, dim3(1), dim3(32), &value);
  EXPECT_TRUE(contains(text, "divergent warp collective")) << text;
}

TEST_P(Executor, AFaultLeavesTheExecutorUsable) {
  for (int i = 0; i < 20; ++i) {
    fault_of(exit_before_barrier, dim3(1), dim3(1024), 500);
    std::vector<int> x(256), y(256);
    std::iota(x.begin(), x.end(), 0);
    run(reverse, dim3(1), dim3(256), 0, x.data(), y.data(), 1);
    ASSERT_EQ(y[0], 255);
    ASSERT_EQ(y[255], 0);
  }
}

__global__ void throwing() {
  if (threadIdx.x == 40) throw std::out_of_range("from a kernel");
  __syncthreads();
}

TEST_P(Executor, AnExceptionInAKernelReachesTheLauncher) {
  EXPECT_THROW(run(throwing, dim3(1), dim3(64), 0), std::out_of_range);
}

__global__ void nothing() {}
__global__ void needs_shared() { dynamic_shared<int>()[0] = 1; }

TEST(IllegalLaunch, IsReportedThroughTheLastErrorAndRunsNothing) {
  sy::cuda_sim::reset_counters();
  for (const auto& [grid, block] :
       {std::pair(dim3(1), dim3(1025)), std::pair(dim3(1), dim3(32, 33)), std::pair(dim3(1), dim3(0)),
        std::pair(dim3(0), dim3(32)), std::pair(dim3(1, 65536), dim3(32)), std::pair(dim3(1), dim3(1, 1, 65))}) {
    launch(nothing, grid, block, 0, nullptr);
    EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidConfiguration);
    EXPECT_THROW(CUDA_CHECK(cudaGetLastError()), sy::Error);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  }
  EXPECT_THROW(launch(nothing, dim3(1), dim3(32), 228 * 1024, nullptr), sy::Error);
  cudaGetLastError();
  EXPECT_EQ(sy::cuda_sim::counters().launches, 0);
  launch(nothing, dim3(1), dim3(1024), 227 * 1024, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(sy::cuda_sim::counters().launches, 1);
  EXPECT_EQ(fault_of(needs_shared, dim3(1), dim3(1)).find("simulated CUDA: the kernel uses dynamic shared memory"), 0u);
}

__global__ void launches_another() { launch(nothing, dim3(1), dim3(1), 0, nullptr); }

TEST(IllegalLaunch, FromInsideAKernelIsReported) {
  EXPECT_NE(fault_of(launches_another, dim3(1), dim3(1)).find("may not launch"), std::string::npos);
  launch(nothing, dim3(1), dim3(1), 0, nullptr);
}

TEST(IllegalLaunch, DynamicSharedMemoryAbove48KibNeedsTheAttribute) {
  sy::cuda_sim::launch(
      reinterpret_cast<const void*>(needs_shared), dim3(1), dim3(1), 49 * 1024, nullptr, [] { needs_shared(); }, false);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  launch(needs_shared, dim3(1), dim3(1), 49 * 1024, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

#if defined(__SANITIZE_ADDRESS__)
__global__ void shared_overflow(int index) {
  __shared__ int buffer[32];
  buffer[index] = 1;
  __syncthreads();
  EXPECT_EQ(buffer[0], 1);
}
__global__ void dynamic_overflow(int index) {
  dynamic_shared<int>()[index] = 1;
  __syncthreads();
}

TEST(ExecutorDeathTest, AddressSanitizerSeesSharedMemoryOverflow) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(run(shared_overflow, dim3(1), dim3(32), 0, 32), "overflow|out of bounds");
  EXPECT_DEATH(run(dynamic_overflow, dim3(1), dim3(32), 128, 32), "overflow|out of bounds");
}
#endif

}  // namespace
