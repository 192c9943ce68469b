// The memory that kernels can reach, as contiguous regions, and what is known of each region's bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>

#include "tests/cuda_sim/access_history.h"

namespace sy::cuda_sim {

enum class RegionKind : uint8_t { kDevice, kPinned, kSharedVariables, kDynamicShared };

struct Cell {
  AccessSet reads, writes, atomics;
};

template <class V>
using ZeroedArray = std::unique_ptr<V[], decltype(&std::free)>;
// Pages that nobody touches cost nothing.
template <class V>
ZeroedArray<V> zeroed(size_t count) {
  return {static_cast<V*>(std::calloc(std::max<size_t>(count, 1), sizeof(V))), std::free};
}

// A cell stands for as many bytes (at most 8) as every access so far has taken together.
struct Region {
  Region(uintptr_t begin_, size_t bytes_, RegionKind kind_) : begin(begin_), bytes(bytes_), kind(kind_) {
    if (!is_shared()) is_written = zeroed<uint8_t>(bytes);
  }
  bool is_shared() const { return kind == RegionKind::kSharedVariables || kind == RegionKind::kDynamicShared; }
  bool contains(uintptr_t address) const { return address - begin < bytes; }

  // First of the cells that cover [offset, offset + num_bytes) and nothing else.
  Cell* cells_of(size_t offset, size_t num_bytes) {
    if (!cells || ((offset | num_bytes) & ((size_t{1} << cell_log2) - 1)) != 0) refine(offset | num_bytes);
    return &cells[offset >> cell_log2];
  }
  // Makes cells such that `multiple` bytes are whole cells.
  void refine(size_t multiple);

  uintptr_t begin;
  size_t bytes;
  RegionKind kind;
  int cell_log2 = 3;
  ZeroedArray<Cell> cells{nullptr, std::free};          // since the first access
  ZeroedArray<uint8_t> is_written{nullptr, std::free};  // per byte; of shared memory the cells know it
};

class Regions {
 public:
  void add(uintptr_t begin, size_t bytes, RegionKind kind);
  void remove(uintptr_t begin);
  // The region that contains the address, or null.
  Region* find(uintptr_t address) {
    Region*& recent = recent_[address / 512 % recent_.size()];
    if (recent == nullptr || !recent->contains(address)) recent = last_before(address);
    return recent != nullptr && recent->contains(address) ? recent : nullptr;
  }
  // The last region that begins at or before the address, or null.
  Region* last_before(uintptr_t address);

 private:
  std::map<uintptr_t, Region> regions_;
  // The region of each 512 bytes, as last seen: allocations are aligned to that.
  std::array<Region*, 4096> recent_{};
};

}  // namespace sy::cuda_sim
