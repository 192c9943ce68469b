#include "csrc/core/box.h"

#include <algorithm>
#include <cstring>

#include "csrc/core/check.h"

namespace sy {
namespace {

// Elements [begin, end) of the part of `box` whose dimensions before `dim` are fixed already.
void split_range(Box& box, size_t dim, int64_t begin, int64_t end, std::vector<Box>& boxes) {
  if (begin == end) return;
  if (dim == box.extent.size()) {
    boxes.push_back(box);
    return;
  }
  int64_t row = 1;
  for (size_t d = dim + 1; d < box.extent.size(); ++d) row *= box.extent[d];
  const int64_t start = box.start[dim];
  const int64_t extent = box.extent[dim];
  int64_t first_row = begin / row;
  const int64_t last_row = end / row;
  const auto partial_row = [&](int64_t i, int64_t from, int64_t to) {
    box.start[dim] = start + i;
    box.extent[dim] = 1;
    split_range(box, dim + 1, from, to, boxes);
  };
  if (first_row == last_row) {
    partial_row(first_row, begin % row, end % row);
  } else {
    if (begin % row != 0) partial_row(first_row++, begin % row, row);
    if (first_row < last_row) {
      box.start[dim] = start + first_row;
      box.extent[dim] = last_row - first_row;
      boxes.push_back(box);
    }
    if (end % row != 0) partial_row(last_row, 0, end % row);
  }
  box.start[dim] = start;
  box.extent[dim] = extent;
}

std::optional<Box> intersect(const Box& a, const Box& b) {
  Box result = a;
  for (size_t d = 0; d < a.start.size(); ++d) {
    const int64_t begin = std::max(a.start[d], b.start[d]);
    const int64_t end = std::min(a.start[d] + a.extent[d], b.start[d] + b.extent[d]);
    if (begin >= end) return std::nullopt;
    result.start[d] = begin;
    result.extent[d] = end - begin;
  }
  return result;
}

// Row-major number, inside `box`, of the element at `index` of the tensor.
int64_t flat_offset(const Box& box, const std::vector<int64_t>& index) {
  int64_t offset = 0;
  for (size_t d = 0; d < index.size(); ++d) offset = offset * box.extent[d] + (index[d] - box.start[d]);
  return offset;
}

// Walks the shared elements of two regions in runs contiguous in both: visit(offset in a's box, offset in b's box,
// length). Stops when visit returns false.
template <class Visit>
void for_each_run(const Region& a, const Region& b, Visit visit) {
  SY_CHECK(a.box.start.size() == b.box.start.size(), "regions of {} and {} dimensions", a.box.start.size(),
           b.box.start.size());
  const std::optional<Box> common = intersect(a.box, b.box);
  if (!common) return;
  // Trailing dimensions that all three boxes span fully make one run, together with the dimension before them.
  size_t run_dim = common->extent.size();
  int64_t run = 1;
  while (run_dim > 0) {
    --run_dim;
    run *= common->extent[run_dim];
    if (common->extent[run_dim] != a.box.extent[run_dim] || common->extent[run_dim] != b.box.extent[run_dim]) break;
  }
  std::vector<int64_t> index = common->start;
  while (true) {
    const int64_t in_a = flat_offset(a.box, index);
    const int64_t in_b = flat_offset(b.box, index);
    const int64_t skip = std::max({int64_t{0}, a.flat_begin - in_a, b.flat_begin - in_b});
    const int64_t stop = std::min({run, a.flat_end - in_a, b.flat_end - in_b});
    if (skip < stop && !visit(in_a + skip, in_b + skip, stop - skip)) return;
    size_t d = run_dim;
    while (d > 0 && ++index[d - 1] == common->start[d - 1] + common->extent[d - 1]) {
      index[d - 1] = common->start[d - 1];
      --d;
    }
    if (d == 0) return;
  }
}

struct OwnedBox {
  Box box;
  int64_t owner = 0;
};

// Checks one slab of the tensor: dimensions before `dim` are fixed to intervals inside which no box begins or ends, and
// `active` holds the boxes that span them.
std::optional<TilingFault> sweep(const std::vector<int64_t>& shape, size_t dim, std::vector<const OwnedBox*> active,
                                 std::vector<int64_t>& element) {
  std::fill(element.begin() + static_cast<std::ptrdiff_t>(dim), element.end(), 0);
  if (active.empty()) return TilingFault{element, -1, -1};
  if (dim == shape.size()) {
    if (active.size() == 1) return std::nullopt;
    const auto [low, high] = std::minmax(active[0]->owner, active[1]->owner);
    return TilingFault{element, low, high};
  }
  const auto begin_of = [dim](const OwnedBox* b) { return b->box.start[dim]; };
  const auto end_of = [dim](const OwnedBox* b) { return b->box.start[dim] + b->box.extent[dim]; };
  std::vector<int64_t> cuts = {0, shape[dim]};
  for (const OwnedBox* b : active) {
    cuts.push_back(begin_of(b));
    cuts.push_back(end_of(b));
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  std::stable_sort(active.begin(), active.end(),
                   [&](const OwnedBox* a, const OwnedBox* b) { return begin_of(a) < begin_of(b); });
  std::vector<const OwnedBox*> slab;
  size_t next = 0;
  for (size_t c = 0; c + 1 < cuts.size(); ++c) {
    std::erase_if(slab, [&](const OwnedBox* b) { return end_of(b) <= cuts[c]; });
    while (next < active.size() && begin_of(active[next]) <= cuts[c]) slab.push_back(active[next++]);
    element[dim] = cuts[c];
    if (auto fault = sweep(shape, dim + 1, slab, element)) return fault;
  }
  return std::nullopt;
}

}  // namespace

int64_t Box::count() const {
  int64_t product = 1;
  for (const int64_t e : extent) product *= e;
  return product;
}

bool Box::fits(const std::vector<int64_t>& shape) const {
  if (start.size() != shape.size() || extent.size() != shape.size()) return false;
  for (size_t d = 0; d < shape.size(); ++d) {
    // Written as a subtraction: start + extent from a damaged file might overflow.
    if (start[d] < 0 || extent[d] < 0 || start[d] > shape[d] || extent[d] > shape[d] - start[d]) return false;
  }
  return true;
}

bool Region::fits(const std::vector<int64_t>& shape) const {
  return box.fits(shape) && 0 <= flat_begin && flat_begin <= flat_end && flat_end <= box.count();
}

std::vector<Box> split_into_boxes(const Region& region) {
  std::vector<Box> boxes;
  Box box = region.box;
  split_range(box, 0, region.flat_begin, region.flat_end, boxes);
  return boxes;
}

int64_t copy_intersection(const Region& source, const void* source_data, const Region& destination,
                          void* destination_data, int64_t element_bytes) {
  int64_t copied = 0;
  const auto* from = static_cast<const char*>(source_data);
  auto* to = static_cast<char*>(destination_data);
  for_each_run(source, destination, [&](int64_t in_source, int64_t in_destination, int64_t length) {
    std::memcpy(to + (in_destination - destination.flat_begin) * element_bytes,
                from + (in_source - source.flat_begin) * element_bytes, static_cast<size_t>(length * element_bytes));
    copied += length;
    return true;
  });
  return copied;
}

bool regions_intersect(const Region& a, const Region& b) {
  bool found = false;
  for_each_run(a, b, [&](int64_t, int64_t, int64_t) {
    found = true;
    return false;
  });
  return found;
}

std::optional<TilingFault> find_tiling_fault(const std::vector<int64_t>& shape, const std::vector<Region>& regions) {
  std::vector<OwnedBox> boxes;
  for (size_t i = 0; i < regions.size(); ++i) {
    SY_CHECK(regions[i].fits(shape), "region {} lies outside its tensor", i);
    for (Box& box : split_into_boxes(regions[i])) boxes.push_back({std::move(box), static_cast<int64_t>(i)});
  }
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return std::nullopt;
  std::vector<const OwnedBox*> active;
  for (const OwnedBox& b : boxes) active.push_back(&b);
  std::vector<int64_t> element(shape.size(), 0);
  return sweep(shape, 0, std::move(active), element);
}

}  // namespace sy
