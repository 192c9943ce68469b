// The checked variant reports each mistake in a kernel's accesses to memory, names the statements, and is silent about
// what barriers order. This file is instrumented like a kernel's.
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/moe/gather_rows.h"

namespace {

using sy::cuda_sim::Fault;
using namespace sy::kernels::cuda;

// Device memory of one test.
template <class V>
class OnDevice {
 public:
  explicit OnDevice(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(V)) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), bytes_), cudaSuccess);
  }
  explicit OnDevice(const std::vector<V>& values) : OnDevice(static_cast<int64_t>(values.size())) {
    EXPECT_EQ(cudaMemcpy(data_, values.data(), bytes_, cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  operator V*() const { return data_; }
  std::vector<V> host() const {
    std::vector<V> values(bytes_ / sizeof(V));
    EXPECT_EQ(cudaMemcpy(values.data(), data_, bytes_, cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  V* data_ = nullptr;
  size_t bytes_;
};

// Every thread order must give the same verdict: what is reported are unordered accesses, not unlucky ones.
class AccessChecker : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override { sy::cuda_sim::set_schedule_seed(GetParam()); }
  void TearDown() override { sy::cuda_sim::set_schedule_seed(0); }
};
INSTANTIATE_TEST_SUITE_P(Schedules, AccessChecker, testing::Values(0, 1, 12345));

template <class... P, class... A>
std::string fault_of(void (*kernel)(P...), int blocks, int threads, size_t shared_bytes, const A&... args) {
  try {
    launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), shared_bytes, nullptr,
           static_cast<P>(args)...);
    cudaDeviceSynchronize();
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "no fault";
}

#define EXPECT_FAULT(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// Each round reverses the block's values through one buffer; `barriers` says which of the two barriers are there.
__global__ void reverse(int* values, int rounds, int barriers) {
  __shared__ int buffer[256];
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  for (int r = 0; r < rounds; ++r) {
    buffer[i] = values[i];
    if (barriers & 1) __syncthreads();
    values[i] = buffer[n - 1 - i];
    if (barriers & 2) __syncthreads();
  }
}

TEST_P(AccessChecker, AMissingBarrierIsARaceThatNamesBothStatementsAndTheVariable) {
  for (const int threads : {8, 64, 256}) {
    const OnDevice<int> values(std::vector<int>(256, 1));
    EXPECT_EQ(fault_of(reverse, 1, threads, 0, values, 3, 3), "no fault");
    // Without the first barrier a thread meets what is not there yet, or what another thread has just written.
    const std::string early = fault_of(reverse, 1, threads, 0, values, 1, 2);
    EXPECT_TRUE(early.find("race") != std::string::npos || early.find("nobody wrote") != std::string::npos) << early;
    // Without the second one it overwrites what another thread has yet to read.
    const std::string late = fault_of(reverse, 1, threads, 0, values, 2, 1);
    EXPECT_FAULT(late, "race");
    EXPECT_FAULT(late, "buffer +");
    const size_t first = late.find("access_checker_test.cpp:");
    ASSERT_NE(first, std::string::npos) << late;
    EXPECT_NE(late.find("access_checker_test.cpp:", first + 1), std::string::npos) << late;
    EXPECT_FAULT(late, "(kernel (anonymous namespace)::reverse(int*, int, int))");
  }
}

__global__ void store_at(float* out, int index, bool in_shared) {
  float* const target = in_shared ? dynamic_shared<float>() : out;
  if (threadIdx.x == 0) target[index] = 1.0f;
}

TEST_P(AccessChecker, AStoreNextToAnAllocationIsOutside) {
  const OnDevice<float> out(10);
  EXPECT_EQ(fault_of(store_at, 1, 32, 40, out, 9, false), "no fault");
  EXPECT_EQ(fault_of(store_at, 1, 32, 40, out, 9, true), "no fault");
  std::string text = fault_of(store_at, 1, 32, 40, out, 10, false);
  EXPECT_FAULT(text, "access outside");
  EXPECT_FAULT(text, "writes 4 bytes of a device allocation of 40 bytes + 40 at access_checker_test.cpp:");
  text = fault_of(store_at, 1, 32, 40, out, 10, true);
  EXPECT_FAULT(text, "access outside");
  EXPECT_FAULT(text, "dynamic shared memory (40 bytes) + 40");
  EXPECT_FAULT(fault_of(store_at, 1, 32, 40, out, -1, false), "access outside");
  EXPECT_FAULT(fault_of(store_at, 1, 32, 40, out, -1, true), "access outside");
}

__global__ void store_in_variable(float* out, int index) {
  __shared__ float own[8];
  if (threadIdx.x == 0) own[index] = 1.0f;
  __syncthreads();
  if (threadIdx.x == 1) *out = own[index];
}

TEST_P(AccessChecker, AStoreBehindAllSharedVariablesIsOutside) {
  const OnDevice<float> out(1);
  EXPECT_EQ(fault_of(store_in_variable, 1, 32, 0, out, 7), "no fault");
  EXPECT_FAULT(fault_of(store_in_variable, 1, 32, 0, out, 1 << 20), "access outside");
}

__global__ void copy_elements(const float* x, float* y, int count) {
  const int64_t i = global_thread();
  if (i < count) y[i] = x[i];
}

TEST_P(AccessChecker, HostMemoryAndFreedMemoryAreOutside) {
  const std::vector<float> host(64, 1.0f);
  const OnDevice<float> y(64);
  EXPECT_FAULT(fault_of(copy_elements, 1, 64, 0, host.data(), y, 64), "access outside");
  auto x = std::make_unique<OnDevice<float>>(host);
  const float* const address = *x;
  EXPECT_EQ(fault_of(copy_elements, 1, 64, 0, address, y, 64), "no fault");
  x.reset();
  EXPECT_FAULT(fault_of(copy_elements, 1, 64, 0, address, y, 64), "access outside");
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 64 * sizeof(float)), cudaSuccess);
  EXPECT_EQ(fault_of(copy_elements, 1, 64, 0, static_cast<float*>(pinned), y, 64), "no fault");
  cudaFreeHost(pinned);
}

__global__ void read_the_neighbours_stack(int** address, int* out) {
  volatile int own = static_cast<int>(threadIdx.x);
  if (threadIdx.x == 0) *address = const_cast<int*>(&own);
  __syncthreads();
  if (threadIdx.x == 1) *out = **address;
  __syncthreads();
}

TEST_P(AccessChecker, AnotherThreadsLocalVariableIsOutside) {
  const OnDevice<int*> address(1);
  const OnDevice<int> out(1);
  EXPECT_FAULT(fault_of(read_the_neighbours_stack, 1, 2, 0, address, out), "access outside");
}

// The first block writes, the second one does not.
__global__ void read_shared(float* out, bool dynamic) {
  __shared__ float buffer[32];
  float* const shared = dynamic ? dynamic_shared<float>() : buffer;
  if (blockIdx.x == 0) shared[threadIdx.x] = 1.0f;
  out[global_thread()] = shared[threadIdx.x];
}

TEST_P(AccessChecker, SharedMemoryHoldsNothingWhenABlockBegins) {
  const OnDevice<float> out(64);
  for (const bool dynamic : {false, true}) {
    EXPECT_EQ(fault_of(read_shared, 1, 32, 128, out, dynamic), "no fault");
    const std::string text = fault_of(read_shared, 2, 32, 128, out, dynamic);
    EXPECT_FAULT(text, "read of what nobody wrote");
    EXPECT_FAULT(text, "block (1,0,0)");
  }
}

TEST_P(AccessChecker, DeviceMemoryHoldsNothingUntilAKernelACopyOrASetWritesIt) {
  const OnDevice<float> x(64), y(64), z(64);
  EXPECT_FAULT(fault_of(copy_elements, 1, 64, 0, x, y, 64), "read of what nobody wrote");
  ASSERT_EQ(cudaMemset(x, 0, 63 * sizeof(float)), cudaSuccess);
  EXPECT_FAULT(fault_of(copy_elements, 1, 64, 0, x, y, 64), "a device allocation of 256 bytes + 252");
  EXPECT_EQ(fault_of(copy_elements, 1, 64, 0, x, y, 63), "no fault");
  EXPECT_EQ(fault_of(copy_elements, 1, 64, 0, y, z, 63), "no fault");
  // A copy copies what was not written, too.
  ASSERT_EQ(cudaMemcpy(z, x, 256, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_FAULT(fault_of(copy_elements, 1, 64, 0, z, y, 64), "read of what nobody wrote");
  const std::vector<float> host(64, 1.0f);
  ASSERT_EQ(cudaMemcpy(x, host.data(), 256, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(fault_of(copy_elements, 1, 64, 0, x, y, 64), "no fault");
}

__global__ void one_element_per_block(int* out, int stride) {
  if (threadIdx.x == 0) out[static_cast<int>(blockIdx.x) * stride] = 1;
}
__global__ void read_the_previous_block(int* values) {
  if (threadIdx.x == 0) values[blockIdx.x + 1] = values[blockIdx.x];
}

TEST_P(AccessChecker, BlocksOfALaunchRaceAndLaunchesDoNot) {
  const OnDevice<int> out(std::vector<int>(8, 0));
  EXPECT_EQ(fault_of(one_element_per_block, 4, 32, 0, out, 1), "no fault");
  EXPECT_EQ(fault_of(one_element_per_block, 4, 32, 0, out, 2), "no fault");
  const std::string text = fault_of(one_element_per_block, 2, 32, 0, out, 0);
  EXPECT_FAULT(text, "race");
  EXPECT_FAULT(text, "another block wrote it");
  EXPECT_EQ(fault_of(read_the_previous_block, 1, 32, 0, out), "no fault");
  EXPECT_FAULT(fault_of(read_the_previous_block, 2, 32, 0, out), "race");
}

// Both blocks read [0]; the second one writes it after a barrier of its own, which orders nothing between blocks.
__global__ void read_then_write_in_the_second_block(int* values) {
  if (threadIdx.x == 0) values[1 + blockIdx.x] = values[0];
  __syncthreads();
  if (blockIdx.x == 1 && threadIdx.x == 0) values[0] = 1;
}

TEST_P(AccessChecker, ABarrierDoesNotOrderBlocks) {
  const OnDevice<int> values(std::vector<int>(3, 0));
  EXPECT_FAULT(fault_of(read_then_write_in_the_second_block, 2, 32, 0, values), "another block read it");
}

enum class Order { kNone, kSyncWarp, kHalves, kShuffle };

// Lane l takes what lane l ^ distance wrote.
__global__ void exchange(int* out, Order order, int distance) {
  __shared__ int buffer[64];
  const int i = static_cast<int>(threadIdx.x);
  buffer[i] = i;
  if (order == Order::kSyncWarp) __syncwarp();
  if (order == Order::kHalves) __syncwarp(i % 32 < 16 ? 0x0000ffffu : 0xffff0000u);
  if (order == Order::kShuffle) (void)__shfl_xor_sync(kFullMask, i, distance);
  out[i] = buffer[i ^ distance];
}

TEST_P(AccessChecker, LanesAreOrderedBySyncwarpOfTheirMaskAndNotByShuffles) {
  const OnDevice<int> out(64);
  EXPECT_EQ(fault_of(exchange, 1, 64, 0, out, Order::kSyncWarp, 1), "no fault");
  EXPECT_EQ(fault_of(exchange, 1, 64, 0, out, Order::kSyncWarp, 16), "no fault");
  EXPECT_EQ(fault_of(exchange, 1, 64, 0, out, Order::kHalves, 8), "no fault");
  EXPECT_NE(fault_of(exchange, 1, 64, 0, out, Order::kNone, 1), "no fault");
  EXPECT_NE(fault_of(exchange, 1, 64, 0, out, Order::kHalves, 16), "no fault");
  EXPECT_FAULT(fault_of(exchange, 1, 64, 0, out, Order::kShuffle, 1), "race");
  // A warp's barrier is nothing to the other warp.
  EXPECT_NE(fault_of(exchange, 1, 64, 0, out, Order::kSyncWarp, 32), "no fault");
}

// Lanes 0 and 1 meet, then 1 and 2: what lane 0 did is ordered before lane 2 through lane 1.
__global__ void pass_on(int* out, bool is_chained) {
  __shared__ int value;
  if (threadIdx.x == 0) value = 5;
  if (threadIdx.x < 2) __syncwarp(3u);
  if (threadIdx.x == 1 || threadIdx.x == 2) {
    if (is_chained) __syncwarp(6u);
    if (threadIdx.x == 2) *out = value;
  }
}

TEST_P(AccessChecker, OrderPassesFromLaneToLane) {
  const OnDevice<int> out(1);
  EXPECT_EQ(fault_of(pass_on, 1, 32, 0, out, true), "no fault");
  EXPECT_NE(fault_of(pass_on, 1, 32, 0, out, false), "no fault");
}

__global__ void histogram(int* count, int* total, bool has_barrier) {
  __shared__ int in_block[2];
  if (threadIdx.x < 2) in_block[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(in_block + threadIdx.x % 2, 1);
  if (has_barrier) __syncthreads();
  if (threadIdx.x < 2) count[blockIdx.x * 2 + threadIdx.x] = in_block[threadIdx.x];
  atomicAdd(total, 1);
}

__global__ void count_and_read(int* out, int reader) {
  __shared__ int counter;
  if (threadIdx.x == 0) counter = 0;
  __syncthreads();
  atomicAdd(&counter, 1);
  if (static_cast<int>(threadIdx.x) == reader) *out = counter;
}

TEST_P(AccessChecker, AtomicsAreOrderedAgainstEachOtherAndNotAgainstPlainReads) {
  const OnDevice<int> count(4);
  const OnDevice<int> total(std::vector<int>{0});
  EXPECT_EQ(fault_of(histogram, 2, 64, 0, count, total, true), "no fault");
  EXPECT_EQ(total.host()[0], 128);
  EXPECT_EQ(count.host(), std::vector<int>(4, 32));
  const std::string text = fault_of(histogram, 1, 64, 0, count, total, false);
  EXPECT_FAULT(text, "race");
  EXPECT_EQ(text.find("device.h"), std::string::npos) << text;  // the atomic's own place says nothing
  // Whether the read comes before the others' atomics or after them.
  for (const int reader : {0, 63}) EXPECT_FAULT(fault_of(count_and_read, 1, 64, 0, total, reader), "race");
}

__global__ void bytes_and_struct(uint8_t* bytes, sy::bf16* halves, double* sums) {
  struct Pair {
    double sum;
    int index;
  };
  __shared__ Pair pair[64], reversed[64];
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  bytes[i] = static_cast<uint8_t>(i);
  halves[i] = sy::bf16(1.0f);
  pair[i].sum = i, pair[i].index = i;  // not the padding, which the copy below reads
  __syncthreads();
  reversed[i] = pair[n - 1 - i];
  sums[i] = reversed[i].sum + reversed[i].index + bytes[n - 1 - i];
}

TEST_P(AccessChecker, NeighboursSmallerThanAWordDoNotRace) {
  const OnDevice<uint8_t> bytes(64);
  const OnDevice<sy::bf16> halves(64);
  const OnDevice<double> sums(64);
  EXPECT_EQ(fault_of(bytes_and_struct, 1, 64, 0, bytes, halves, sums), "no fault");
}

// The two halves of an allocation meet accesses of other widths than before.
__global__ void wide_then_narrow(double* wide, uint8_t* narrow, bool is_disjoint) {
  if (threadIdx.x == 0) wide[0] = 1.0;
  if (threadIdx.x == 1) narrow[is_disjoint ? 8 : 7] = 1;
}

TEST_P(AccessChecker, AccessesOfDifferentWidthsRaceWhereTheyOverlap) {
  const OnDevice<double> memory(2);
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(static_cast<double*>(memory));
  EXPECT_EQ(fault_of(wide_then_narrow, 1, 32, 0, memory, bytes, true), "no fault");
  EXPECT_FAULT(fault_of(wide_then_narrow, 1, 32, 0, memory, bytes, false), "race");
}

__global__ void reductions(const float* x, float* out) {
  const float value = x[threadIdx.x];
  float total = 0;
  const float sum = block_sum(value), largest = block_max(value), scan = block_inclusive_scan(value, &total);
  out[threadIdx.x] = sum + largest + scan + total;
}

__global__ void product(const float* a, const float* b, float* c, int n) {
  float acc[kPerThread][kPerThread];
  tile_product<float, true, false>(
      n, [&](int64_t m, int64_t k) { return a[m * n + k]; }, [&](int64_t k, int64_t j) { return b[k * n + j]; }, acc);
  for (int i = 0; i < kPerThread; ++i)
    for (int j = 0; j < kPerThread; ++j) c[tile_row(i) * n + tile_column(j)] = acc[i][j];
}

// One barrier per stage suffices with two buffers: the loads of stage s + 1 do not touch what stage s is read from.
__global__ void double_buffered(const int* x, int* out, int stages) {
  __shared__ int buffer[2][64];
  const int i = static_cast<int>(threadIdx.x);
  int sum = 0;
  buffer[0][i] = x[i];
  for (int s = 0; s < stages; ++s) {
    __syncthreads();
    if (s + 1 < stages) buffer[(s + 1) % 2][i] = x[(s + 1) * 64 + i];
    sum += buffer[s % 2][63 - i];
  }
  out[i] = sum;
}

TEST_P(AccessChecker, ReductionsScansTilesAndDoubleBuffersAreClean) {
  const OnDevice<float> x(std::vector<float>(256, 1.0f)), out(256);
  EXPECT_EQ(fault_of(reductions, 1, 256, 0, x, out), "no fault");
  EXPECT_EQ(out.host()[255], 256.0f + 1.0f + 256.0f + 256.0f);
  const OnDevice<float> a(std::vector<float>(64 * 64, 1.0f)), c(64 * 64);
  EXPECT_EQ(fault_of(product, 1, kBlock, 0, a, a, c, 64), "no fault");
  EXPECT_EQ(c.host()[77], 64.0f);
  const OnDevice<int> values(std::vector<int>(5 * 64, 2)), sums(64);
  EXPECT_EQ(fault_of(double_buffered, 1, 64, 0, values, sums, 5), "no fault");
  EXPECT_EQ(sums.host()[3], 10);
}

TEST_P(AccessChecker, BytesOfAKernelAreCounted) {
  const OnDevice<float> x(std::vector<float>(1000, 1.0f)), y(1000);
  sy::cuda_sim::reset_counters();
  launch(copy_elements, dim3(4), dim3(256), 0, nullptr, static_cast<const float*>(x), static_cast<float*>(y), 1000);
  cudaDeviceSynchronize();
  EXPECT_EQ(sy::cuda_sim::counters().device_bytes_read, 4000);
  EXPECT_EQ(sy::cuda_sim::counters().device_bytes_written, 4000);
}

TEST_P(AccessChecker, GatherRowsReadsEachRowOfATokenOnceAndWritesEachRowOnce) {
  constexpr int64_t kTokens = 9, kRows = 16, kDim = 64;
  const OnDevice<float> x(std::vector<float>(kTokens * 2 * kDim, 1.0f));
  const OnDevice<int32_t> row_end(std::vector<int32_t>{kRows});
  const OnDevice<float> y(kRows * 2 * kDim);
  const auto bytes = [&](const std::vector<int32_t>& row_token, int64_t dim) {
    const OnDevice<int32_t> token(row_token);
    sy::cuda_sim::reset_counters();
    sy::kernels::gather_rows_forward<float>(
        sy::kernels::Cuda{}, {.x = x, .row_token = token, .row_end = row_end, .y = y, .rows = kRows, .dim = dim});
    cudaDeviceSynchronize();
    return sy::cuda_sim::counters();
  };
  // The indices take the same reads at every width: the difference of two widths is the rows'.
  for (const int32_t pads : {0, 5}) {
    std::vector<int32_t> row_token(kRows);
    for (int32_t r = 0; r < kRows; ++r) row_token[r] = r < pads ? -1 : r % kTokens;
    const auto narrow = bytes(row_token, kDim), wide = bytes(row_token, 2 * kDim);
    EXPECT_EQ(wide.device_bytes_read - narrow.device_bytes_read, (kRows - pads) * kDim * 4);
    EXPECT_EQ(wide.device_bytes_written - narrow.device_bytes_written, kRows * kDim * 4);
  }
}

}  // namespace
