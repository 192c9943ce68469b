// Splitting work over OpenMP threads, and scratch memory that each thread keeps between calls.
//
// Work is split so that every output is formed by one thread in an order that depends on the shapes alone: results are
// the same bits for every number of threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace sy::kernels::cpu {

// Below this many elements the start of a parallel region costs more than it saves.
inline constexpr int64_t kSerialElements = 16384;

// Calls body(begin, end) on disjoint pieces of [0, count), `grain` units at most each; `elements_per_unit` tells the
// cost.
template <class F>
void parallel_pieces(int64_t count, int64_t elements_per_unit, F&& body) {
  if (count <= 0) return;
  const int64_t grain = std::max<int64_t>(1, kSerialElements / std::max<int64_t>(1, elements_per_unit));
  const int64_t pieces = (count + grain - 1) / grain;
  if (pieces == 1) {
    body(int64_t{0}, count);
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) body(piece * grain, std::min(count, (piece + 1) * grain));
}

// A buffer that only grows, aligned to cache lines; contents are undefined after reserve().
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  template <class T>
  T* reserve(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 4095) / 4096 * 4096;
    if (bytes > bytes_) {
      std::free(data_);
      bytes_ = 0;
      data_ = std::aligned_alloc(4096, bytes);
      if (data_ == nullptr) throw std::bad_alloc();
      bytes_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace sy::kernels::cpu
