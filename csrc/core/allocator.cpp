#include "csrc/core/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "csrc/core/check.h"

namespace sy {

const char* memory_kind_name(MemoryKind kind) {
  constexpr const char* kNames[kNumMemoryKinds] = {"parameters",  "masters",   "gradients", "optimizer",
                                                   "activations", "workspace", "data"};
  return kNames[static_cast<int>(kind)];
}

void* Allocator::allocate(int64_t bytes, MemoryKind kind) {
  SY_CHECK(bytes >= 0, "allocation of {} bytes", bytes);
  const std::scoped_lock lock(mutex_);
  const int k = static_cast<int>(kind);
  use_.live_bytes[k] += bytes;
  use_.peak_bytes[k] = std::max(use_.peak_bytes[k], use_.live_bytes[k]);
  use_.total_live_bytes += bytes;
  use_.total_peak_bytes = std::max(use_.total_peak_bytes, use_.total_live_bytes);
  return bytes == 0 ? nullptr : acquire(bytes);
}

void Allocator::free(void* pointer, int64_t bytes, MemoryKind kind) {
  const std::scoped_lock lock(mutex_);
  use_.live_bytes[static_cast<int>(kind)] -= bytes;
  use_.total_live_bytes -= bytes;
  if (bytes != 0) release(pointer, bytes);
}

MemoryUse Allocator::use() const {
  const std::scoped_lock lock(mutex_);
  return use_;
}

void Allocator::reset_peak() {
  const std::scoped_lock lock(mutex_);
  use_.peak_bytes = use_.live_bytes;
  use_.total_peak_bytes = use_.total_live_bytes;
}

namespace {

class MetaAllocator final : public Allocator {
 public:
  DeviceType device() const override { return DeviceType::meta; }

 private:
  void* acquire(int64_t) override { return nullptr; }
  void release(void*, int64_t) override {}
};

// Freed blocks wait in a map by size; a request takes the smallest one that is large enough and wastes at most a
// quarter. A training step asks for the same sizes again and again, so after the first step nothing is mapped anew.
class CpuAllocator final : public Allocator {
 public:
  ~CpuAllocator() override {
    for (auto& [bytes, pointer] : free_) std::free(pointer);
  }
  DeviceType device() const override { return DeviceType::cpu; }

 private:
  static constexpr int64_t kHugePage = int64_t{1} << 21;

  void* acquire(int64_t bytes) override {
    const auto it = free_.lower_bound(bytes);
    if (it != free_.end() && it->first <= bytes + bytes / 4 + 4096) {
      void* pointer = it->second;
      sizes_[pointer] = it->first;
      free_.erase(it);
      return pointer;
    }
    const int64_t alignment = bytes >= kHugePage ? kHugePage : 64;
    const int64_t rounded = (bytes + 63) / 64 * 64;
    void* pointer = nullptr;
    if (posix_memalign(&pointer, static_cast<std::size_t>(alignment), static_cast<std::size_t>(rounded)) != 0)
      throw UserError(
          fmt::format("out of memory: {} bytes asked for on the CPU; lower train.micro_batch_size, or set train.recompute: full",
                      bytes));
    if (rounded >= kHugePage) madvise(pointer, static_cast<std::size_t>(rounded), MADV_HUGEPAGE);
    sizes_[pointer] = rounded;
    return pointer;
  }
  void release(void* pointer, int64_t) override {
    const auto it = sizes_.find(pointer);
    free_.emplace(it->second, pointer);
    sizes_.erase(it);
  }

  std::multimap<int64_t, void*> free_;
  std::map<void*, int64_t> sizes_;  // capacity of each block handed out
};

}  // namespace

std::unique_ptr<Allocator> make_cpu_allocator() { return std::make_unique<CpuAllocator>(); }
std::unique_ptr<Allocator> make_meta_allocator() { return std::make_unique<MetaAllocator>(); }

}  // namespace sy
