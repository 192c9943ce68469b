// Regions and their cells. See access_regions.h.
#include "tests/cuda_sim/access_regions.h"

#include <bit>

namespace sy::cuda_sim {

Cell* Region::cells_of(size_t offset, size_t num_bytes) {
  const int common = std::countr_zero(offset | num_bytes | 8u);
  const size_t count = (bytes >> cell_log2) + 1;
  if (!cells) {
    cell_log2 = common;
    cells = zeroed<Cell>((bytes >> common) + 1);
  } else if (common < cell_log2) {
    const size_t parts = size_t{1} << (cell_log2 - common);
    auto finer = zeroed<Cell>(count * parts);
    for (size_t i = 0; i < count; ++i)
      if ((cells[i].reads.last | cells[i].writes.last | cells[i].atomics.last) != 0)
        std::fill_n(&finer[i * parts], parts, cells[i]);
    cells = std::move(finer);
    cell_log2 = common;
  }
  return &cells[offset >> cell_log2];
}

void Regions::add(uintptr_t begin, size_t bytes, RegionKind kind) {
  regions_.insert_or_assign(begin, Region(begin, bytes, kind));
  recent_.fill(nullptr);
}

void Regions::remove(uintptr_t begin) {
  regions_.erase(begin);
  recent_.fill(nullptr);
}

Region* Regions::find(uintptr_t address) {
  Region*& recent = recent_[address / 512 % recent_.size()];
  if (recent != nullptr && recent->contains(address)) return recent;
  Region* const region = last_before(address);
  if (region == nullptr || !region->contains(address)) return nullptr;
  return recent = region;
}

Region* Regions::last_before(uintptr_t address) {
  const auto it = regions_.upper_bound(address);
  return it == regions_.begin() ? nullptr : &std::prev(it)->second;
}

}  // namespace sy::cuda_sim
