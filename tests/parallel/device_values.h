// Values in device memory for tests on several ranks, and the orders of streams under which their results must not
// change.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <vector>

#include "csrc/core/context.h"
#include "tests/parallel/mpi_main.h"
#if defined(SY_CUDA_SIM)
#include "tests/cuda_sim/executor.h"
#endif

namespace sy::testing {

template <class T>
std::span<T> span_of(const Tensor& tensor) {
  return {tensor.data<T>(), static_cast<std::size_t>(tensor.count())};
}

template <class T>
std::vector<T> values_of(int64_t rank, int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<T>(static_cast<float>((i * 7 + static_cast<std::size_t>(rank) * 31) % 251));
  return values;
}

// Sums of these depend on their order: large terms swallow what is there before them and cancel.
template <class T>
std::vector<T> addends_of(int64_t rank, int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float small = 1.0f / static_cast<float>(3 + 7 * rank + static_cast<int64_t>(i % 101));
    const float large = static_cast<float>(1 + i % 7) * (sizeof(T) == 8 ? 0x1p60f : 0x1p30f);
    values[i] = static_cast<T>(i % 2 == 0 || rank % 3 == 0 ? small : rank % 3 == 1 ? large : -large);
  }
  return values;
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return std::ranges::equal(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
}

inline constexpr uint64_t kLazy = 1;  // of simulated CUDA's seeds

// Base is a fixture of GoogleTest. On simulated CUDA a body runs under several orders of the streams, on every rank
// another one; on a GPU twice.
template <class Base>
class AnyOrder : public Base {
 protected:
#if defined(SY_CUDA_SIM)
  ~AnyOrder() override { cuda_sim::set_schedule_seed(0); }
#endif
  template <class Body>
  static void for_each_seed(Body&& body) {
#if defined(SY_CUDA_SIM)
    for (const uint64_t seed : {uint64_t{0}, kLazy, uint64_t{7}, uint64_t { 8 }}) {
      cuda_sim::set_schedule_seed(seed < 2 ? seed : seed * 16 + static_cast<uint64_t>(mpi_world().rank()));
#else
    for (const int seed : {0, 1}) {
#endif
      SCOPED_TRACE(::testing::Message() << "seed " << seed);
      body();
    }
  }
};

}  // namespace sy::testing
