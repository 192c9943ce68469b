// Device memory with live and peak bytes per kind of use.
//
// CpuAllocator keeps freed blocks and hands them out again (page faults dominate otherwise); MetaAllocator only counts:
// a model built and stepped on the meta device tells its exact memory without holding any (see `switchyard inspect`).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace sy {

enum class DeviceType : uint8_t { cpu, cuda, meta };

// What bytes are for: the tags of the memory report.
enum class MemoryKind : uint8_t { parameters, masters, gradients, optimizer, activations, workspace, data };
constexpr int kNumMemoryKinds = 7;
const char* memory_kind_name(MemoryKind kind);

struct MemoryUse {
  std::array<int64_t, kNumMemoryKinds> live_bytes{};
  std::array<int64_t, kNumMemoryKinds> peak_bytes{};  // each kind's own peak
  int64_t total_live_bytes = 0;
  int64_t total_peak_bytes = 0;  // peak of the sum
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual DeviceType device() const = 0;

  // 64-byte aligned memory of at least `bytes`, not initialised. Zero bytes give a null pointer.
  void* allocate(int64_t bytes, MemoryKind kind);
  void free(void* pointer, int64_t bytes, MemoryKind kind);
  MemoryUse use() const;
  void reset_peak();

 protected:
  virtual void* acquire(int64_t bytes) = 0;
  virtual void release(void* pointer, int64_t bytes) = 0;

 private:
  mutable std::mutex mutex_;
  MemoryUse use_;
};

std::unique_ptr<Allocator> make_cpu_allocator();
std::unique_ptr<Allocator> make_meta_allocator();
// Memory is given and taken back in the order of `stream`: work enqueued there may use it from allocate() on, and
// free() need not wait for such work. Other streams must be ordered against it by events (see context.h). Throws
// UserError in a build without CUDA.
std::unique_ptr<Allocator> make_cuda_allocator(void* stream);

}  // namespace sy
