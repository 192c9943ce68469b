// Regions and their cells. See access_regions.h.
#include "tests/cuda_sim/access_regions.h"

#include <bit>

namespace sy::cuda_sim {

void Region::refine(size_t multiple) {
  const int finer_log2 = std::countr_zero(multiple | 8u);
  const size_t count = (bytes >> cell_log2) + 1, parts = size_t{1} << (cell_log2 - finer_log2);
  auto finer = zeroed<Cell>(count * parts);
  for (size_t i = 0; cells && i < count; ++i)
    if ((cells[i].reads.last | cells[i].writes.last | cells[i].atomics.last) != 0)
      std::fill_n(&finer[i * parts], parts, cells[i]);
  cells = std::move(finer);
  cell_log2 = finer_log2;
}

void Regions::add(uintptr_t begin, size_t bytes, RegionKind kind) {
  regions_.insert_or_assign(begin, Region(begin, bytes, kind));
  recent_.fill(nullptr);
}

void Regions::remove(uintptr_t begin) {
  regions_.erase(begin);
  recent_.fill(nullptr);
}

Region* Regions::last_before(uintptr_t address) {
  const auto it = regions_.upper_bound(address);
  return it == regions_.begin() ? nullptr : &std::prev(it)->second;
}

}  // namespace sy::cuda_sim
