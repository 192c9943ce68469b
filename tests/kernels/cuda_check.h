// Runs one kernel's CPU and CUDA bodies on the same arguments and compares every output.
//
//   expect_cuda_equals_cpu([&](auto& side, auto backend) {
//     kernels::add<float>(backend, {.a = side.in(a), .b = side.in(b), .y = side.template out<float>(n, kExact), ...});
//   });
// The body runs once for the host and, on simulated CUDA, for several thread orders on the device. Buffers have exactly
// the requested size (ASan sees what lies outside). Outputs start as 0xff bytes - NaN, -1 -, so an element that only
// one side leaves alone is a difference. On simulated CUDA a body that waits for the device or adds floats atomically
// fails.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/cuda/check.cuh"
#include "kernels/types.h"
#if defined(SY_CUDA_SIM)
#include "tests/cuda_sim/executor.h"
#endif

namespace sy::test {

inline constexpr double kExact = 0;

// Relative to the largest element: one rounding of T, and for Acc types a few hundred additions in another order.
template <class T>
double cuda_tolerance() {
  return std::is_same_v<T, bf16> ? 8e-3 : std::is_same_v<T, float> ? 3e-6 : 1e-13;
}

// One output as doubles (for integers exact), with the elements that count.
struct CheckedOutput {
  std::vector<double> values;
  std::vector<unsigned char> bytes;
  std::vector<char> counts;
  double tolerance = 0;
};

template <class T>
CheckedOutput checked(const T* data, int64_t count, double tolerance, const std::vector<char>& counts) {
  CheckedOutput output{std::vector<double>(count), std::vector<unsigned char>(count * sizeof(T)), counts, tolerance};
  if (count > 0) std::memcpy(output.bytes.data(), data, count * sizeof(T));
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_integral_v<T>) output.values[i] = static_cast<double>(data[i]);
    else output.values[i] = static_cast<double>(static_cast<Acc<T>>(data[i]));
  }
  return output;
}

// Owns the buffers of one run. kDevice: in device memory.
template <bool kDevice>
class Side {
 public:
  Side() = default;
  Side(const Side&) = delete;
  ~Side() {
    for (void* p : device_) cudaFree(p);
  }

  template <class T>
  T* in(const std::vector<T>& values) {
    return buffer(values.data(), values.size());
  }
  // Starts as `values`, compared afterwards.
  template <class T>
  T* inout(const std::vector<T>& values, double tolerance) {
    T* p = in(values);
    compare_later(p, static_cast<int64_t>(values.size()), tolerance, {});
    return p;
  }
  // Starts as 0xff bytes. Elements with counts[i] = 0 are not compared (unspecified by the contract).
  template <class T>
  T* out(int64_t count, double tolerance, std::vector<char> counts = {}) {
    const std::vector<unsigned char> unset(count * sizeof(T), 0xff);
    T* p = reinterpret_cast<T*>(buffer(unset.data(), unset.size()));
    compare_later(p, count, tolerance, std::move(counts));
    return p;
  }
  template <class T>
  T* scratch(int64_t count) {
    return reinterpret_cast<T*>(buffer(std::vector<unsigned char>(count * sizeof(T), 0xff).data(), count * sizeof(T)));
  }

  std::vector<CheckedOutput> outputs() {
    std::vector<CheckedOutput> result;
    for (const auto& read : reads_) result.push_back(read());
    return result;
  }

  // Compares count elements at p, inside a buffer of this side, after the run.
  template <class T>
  void compare_later(T* p, int64_t count, double tolerance, std::vector<char> counts) {
    reads_.push_back([=, counts = std::move(counts)] {
      if constexpr (kDevice) {
        std::vector<T> host(count);
        if (count > 0) CUDA_CHECK(cudaMemcpy(host.data(), p, count * sizeof(T), cudaMemcpyDeviceToHost));
        return checked(host.data(), count, tolerance, counts);
      } else {
        return checked(p, count, tolerance, counts);
      }
    });
  }

 private:
  template <class T>
  T* buffer(const T* values, size_t count) {
    const size_t bytes = count * sizeof(T);
    if constexpr (kDevice) {
      void* p = nullptr;
      if (bytes == 0) return nullptr;
      CUDA_CHECK(cudaMalloc(&p, bytes));
      device_.push_back(p);
      // Pinned memory would do as well; what matters is that the upload is not taken for the kernel's doing.
      CUDA_CHECK(cudaMemcpy(p, values, bytes, cudaMemcpyHostToDevice));
#if defined(SY_CUDA_SIM)
      --cuda_sim::counters().host_syncs;
#endif
      return static_cast<T*>(p);
    } else {
      auto memory = std::make_unique<unsigned char[]>(bytes);
      if (bytes > 0) std::memcpy(memory.get(), values, bytes);
      host_.push_back(std::move(memory));
      return reinterpret_cast<T*>(host_.back().get());
    }
  }

  std::vector<std::unique_ptr<unsigned char[]>> host_;
  std::vector<void*> device_;
  std::vector<std::function<CheckedOutput()>> reads_;
};

inline void expect_equal(const CheckedOutput& cuda, const CheckedOutput& cpu, size_t index) {
  ASSERT_EQ(cuda.values.size(), cpu.values.size());
  double largest = 0;
  const auto skip = [&](size_t i) { return !cpu.counts.empty() && !cpu.counts[i]; };
  for (size_t i = 0; i < cpu.values.size(); ++i)
    if (!skip(i) && std::isfinite(cpu.values[i])) largest = std::max(largest, std::abs(cpu.values[i]));
  int reported = 0;
  for (size_t i = 0; i < cpu.values.size() && reported < 5; ++i) {
    const double a = cuda.values[i], b = cpu.values[i];
    if (skip(i) || a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= cpu.tolerance * largest) continue;
    ++reported;
    ADD_FAILURE() << "output " << index << " element " << i << " of " << cpu.values.size() << ": CUDA " << a << ", CPU "
                  << b << ", largest " << largest;
  }
}

template <class Body>
void expect_cuda_equals_cpu(const Body& body) {
  Side<false> host;
  body(host, kernels::Cpu{});
  const std::vector<CheckedOutput> expected = host.outputs();
  std::vector<CheckedOutput> first;
#if defined(SY_CUDA_SIM)
  const uint64_t seed_before = cuda_sim::schedule_seed();
  for (const uint64_t schedule : {0, 1, 11}) {
    cuda_sim::set_schedule_seed(schedule);
    cuda_sim::reset_counters();
#else
  for (int repetition = 0; repetition < 2; ++repetition) {
#endif
    Side<true> device;
    body(device, kernels::Cuda{});
#if defined(SY_CUDA_SIM)
    EXPECT_EQ(cuda_sim::counters().host_syncs, 0) << "the body waits for the device";
    CUDA_CHECK(cudaDeviceSynchronize());
    EXPECT_EQ(cuda_sim::counters().float_atomics, 0) << "the body adds floats atomically";
#endif
    const std::vector<CheckedOutput> actual = device.outputs();
    ASSERT_EQ(actual.size(), expected.size());
    if (first.empty()) {
      for (size_t i = 0; i < actual.size(); ++i) expect_equal(actual[i], expected[i], i);
      first = actual;
    }
    for (size_t i = 0; i < actual.size(); ++i)
      EXPECT_TRUE(actual[i].bytes == first[i].bytes) << "output " << i << " depends on the order of the threads";
  }
#if defined(SY_CUDA_SIM)
  cuda_sim::set_schedule_seed(seed_before);
#endif
}

}  // namespace sy::test
