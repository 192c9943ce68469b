// Runs a lambda as a kernel of one block, and returns the text of the fault that it raised, or nothing.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>

#include "kernels/cuda/launch.cuh"

namespace sy::test {

inline __global__ void call(const std::function<void()>* body) { (*body)(); }

inline std::string fault_in_block(unsigned threads, size_t shared_bytes, const std::function<void()>& body,
                                  uint64_t seed = 0) {
  const uint64_t seed_before = cuda_sim::schedule_seed();
  cuda_sim::set_schedule_seed(seed);
  std::string text;
  try {
    kernels::cuda::launch(call, dim3(1), dim3(threads), shared_bytes, nullptr, &body);
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaDeviceSynchronize());
  } catch (const cuda_sim::Fault& fault) {
    text = fault.what();
  }
  cuda_sim::set_schedule_seed(seed_before);
  return text;
}

inline bool contains(const std::string& fault, const std::string& part) {
  return fault.find(part) != std::string::npos;
}

// As late as possible, as early as possible, and drawn: async_work.h.
inline constexpr uint64_t kSchedules[] = {0, 1, 11, 12345};

}  // namespace sy::test

#define EXPECT_FAULT(text, part) EXPECT_PRED2(sy::test::contains, text, std::string(part))
