// Boxes and regions: which elements of an n-d tensor a stored piece holds.
//
// A Box is a start and an extent per dimension. A Region is a flat range [flat_begin, flat_end) of a box's elements in
// the box's own row-major order: a ZeRO shard of a tensor-parallel shard. A scalar has no dimensions and one element.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace sy {

struct Box {
  std::vector<int64_t> start;
  std::vector<int64_t> extent;

  static Box whole(const std::vector<int64_t>& shape) { return {std::vector<int64_t>(shape.size(), 0), shape}; }
  int64_t count() const;
  // True if the box lies inside a tensor of this shape (same number of dimensions, no negative numbers).
  bool fits(const std::vector<int64_t>& shape) const;
  bool operator==(const Box&) const = default;
};

struct Region {
  Box box;
  int64_t flat_begin = 0;
  int64_t flat_end = 0;

  static Region whole(Box box) {
    const int64_t count = box.count();
    return {std::move(box), 0, count};
  }
  int64_t count() const { return flat_end - flat_begin; }
  bool is_whole_box() const { return flat_begin == 0 && flat_end == box.count(); }
  // True if the box fits the shape and the flat range the box.
  bool fits(const std::vector<int64_t>& shape) const;
  bool operator==(const Region&) const = default;
};

// Disjoint boxes, at most 2n-1 for n dimensions, that hold exactly the region's elements, in row-major order.
std::vector<Box> split_into_boxes(const Region& region);

// Copies the elements that both regions hold. source[0] and destination[0] are the first elements of their regions.
// Returns how many elements were copied. Regions lie in one tensor of elements of `element_bytes` bytes.
int64_t copy_intersection(const Region& source, const void* source_data, const Region& destination,
                          void* destination_data, int64_t element_bytes);

// True if the regions share an element.
bool regions_intersect(const Region& a, const Region& b);

// The first fault in row-major order when regions are laid over a tensor: an element that no region holds (first ==
// -1), or one that two hold (their numbers, first < second).
struct TilingFault {
  std::vector<int64_t> element;
  int64_t first = -1;
  int64_t second = -1;
};

// Empty if the regions, each of which must fit `shape`, hold every element exactly once. Time grows with the number of
// regions and of distinct cuts, not with the number of elements.
std::optional<TilingFault> find_tiling_fault(const std::vector<int64_t>& shape, const std::vector<Region>& regions);

}  // namespace sy
