#include "csrc/core/box.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/csrc/core/random_tiling.h"

namespace sy {
namespace {

using testing::random_shape;
using testing::random_tiling;
using testing::uniform;

// Row-major numbers, in the whole tensor, of a region's elements, by the definition.
std::vector<int64_t> elements_of(const Region& region, const std::vector<int64_t>& shape) {
  std::vector<int64_t> result;
  for (int64_t flat = region.flat_begin; flat < region.flat_end; ++flat) {
    int64_t rest = flat;
    int64_t number = 0;
    int64_t stride = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      number += (region.box.start[d] + rest % region.box.extent[d]) * stride;
      rest /= region.box.extent[d];
      stride *= shape[d];
    }
    result.push_back(number);
  }
  return result;
}

std::vector<int64_t> coordinates(int64_t number, const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    index[d] = number % shape[d];
    number /= shape[d];
  }
  return index;
}

TEST(Box, SplitBoxesHoldTheRegionsElementsInOrder) {
  std::mt19937 rng(1);
  for (int round = 0; round < 2000; ++round) {
    const auto shape = random_shape(rng, 0, 4);
    for (const Region& region : random_tiling(rng, shape)) {
      std::vector<int64_t> split;
      const auto boxes = split_into_boxes(region);
      EXPECT_LE(boxes.size(), std::max<size_t>(1, 2 * shape.size()) - (shape.empty() ? 0 : 1));
      for (const Box& box : boxes) {
        const auto part = elements_of(Region::whole(box), shape);
        split.insert(split.end(), part.begin(), part.end());
      }
      EXPECT_EQ(split, elements_of(region, shape));
    }
  }
}

TEST(Box, RandomTilingsPassTheVerifier) {
  std::mt19937 rng(2);
  for (int round = 0; round < 3000; ++round) {
    const auto shape = random_shape(rng, 0, 4);
    EXPECT_FALSE(find_tiling_fault(shape, random_tiling(rng, shape)).has_value());
  }
}

TEST(Box, TheFirstHoleOrOverlapIsNamed) {
  std::mt19937 rng(3);
  int holes = 0;
  int overlaps = 0;
  for (int round = 0; round < 6000; ++round) {
    const auto shape = random_shape(rng, 0, 4);
    auto regions = random_tiling(rng, shape);
    // Damage it: drop a piece, double one, shorten or lengthen a flat range, or move a box.
    const size_t victim = static_cast<size_t>(uniform(rng, 0, static_cast<int64_t>(regions.size()) - 1));
    switch (uniform(rng, 0, 3)) {
      case 0:
        regions.erase(regions.begin() + static_cast<std::ptrdiff_t>(victim));
        break;
      case 1:
        regions.push_back(regions[victim]);
        break;
      case 2:
        regions[victim].flat_end = uniform(rng, regions[victim].flat_begin, regions[victim].box.count());
        break;
      case 3:
        for (size_t d = 0; d < shape.size(); ++d) {
          auto& box = regions[victim].box;
          box.start[d] = uniform(rng, 0, shape[d] - box.extent[d]);
        }
    }
    int64_t total = 1;
    for (const int64_t dim : shape) total *= dim;
    std::vector<int> counts(static_cast<size_t>(total), 0);
    for (const Region& region : regions) {
      for (const int64_t number : elements_of(region, shape)) ++counts[static_cast<size_t>(number)];
    }
    const auto fault = find_tiling_fault(shape, regions);
    const bool is_tiling = std::all_of(counts.begin(), counts.end(), [](int count) { return count == 1; });
    ASSERT_EQ(fault.has_value(), !is_tiling);
    if (!fault) continue;
    int64_t number = 0;
    for (size_t d = 0; d < shape.size(); ++d) number = number * shape[d] + fault->element[d];
    const int count = counts[static_cast<size_t>(number)];
    const auto first = std::find_if(counts.begin(), counts.end(), [](int c) { return c != 1; });
    EXPECT_EQ(number, first - counts.begin());
    if (fault->first < 0) {
      ++holes;
      EXPECT_EQ(count, 0);
    } else {
      ++overlaps;
      EXPECT_GE(count, 2);
      EXPECT_LT(fault->first, fault->second);
      for (const int64_t owner : {fault->first, fault->second}) {
        const auto owned = elements_of(regions[static_cast<size_t>(owner)], shape);
        EXPECT_TRUE(std::find(owned.begin(), owned.end(), number) != owned.end());
      }
    }
  }
  EXPECT_GT(holes, 500);
  EXPECT_GT(overlaps, 500);
}

TEST(Box, FaultOfAnUncoveredFirstElementIsThatElement) {
  const auto fault = find_tiling_fault({4, 6}, {{{{0, 0}, {4, 6}}, 0, 9}, {{{0, 0}, {4, 6}}, 10, 24}});
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->first, -1);
  EXPECT_EQ(fault->element, coordinates(9, {4, 6}));
}

TEST(Box, CopyMovesExactlyTheSharedElements) {
  std::mt19937 rng(4);
  for (int round = 0; round < 3000; ++round) {
    const auto shape = random_shape(rng, 0, 4);
    const auto sources = random_tiling(rng, shape);
    const auto destinations = random_tiling(rng, shape);
    const Region& source = sources[static_cast<size_t>(uniform(rng, 0, static_cast<int64_t>(sources.size()) - 1))];
    const Region& target =
        destinations[static_cast<size_t>(uniform(rng, 0, static_cast<int64_t>(destinations.size()) - 1))];
    const auto from = elements_of(source, shape);
    std::vector<int64_t> to(static_cast<size_t>(target.count()), -1);
    auto expected = elements_of(target, shape);
    int64_t shared = 0;
    for (int64_t& number : expected) {
      const bool is_shared = std::find(from.begin(), from.end(), number) != from.end();
      shared += is_shared;
      if (!is_shared) number = -1;
    }
    EXPECT_EQ(copy_intersection(source, from.data(), target, to.data(), 8), shared);
    EXPECT_EQ(to, expected);
    EXPECT_EQ(regions_intersect(source, target), shared > 0);
  }
}

TEST(Box, AThousandRankZeroTilingIsVerifiedInSecondsAndPastTwoToThe31Elements) {
  const std::vector<int64_t> shape = {128, 4096, 14336};  // 7.5e9 elements
  std::vector<Region> regions;
  const int64_t total = Box::whole(shape).count();
  for (int64_t rank = 0; rank < 1024; ++rank) {
    regions.push_back({Box::whole(shape), total * rank / 1024 + (rank > 0 ? rank % 7 : 0),
                       total * (rank + 1) / 1024 + (rank < 1023 ? (rank + 1) % 7 : 0)});
  }
  EXPECT_FALSE(find_tiling_fault(shape, regions).has_value());
  ++regions[700].flat_begin;
  const auto fault = find_tiling_fault(shape, regions);
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->element, coordinates(regions[700].flat_begin - 1, shape));
}

TEST(Box, OutOfRangeBoxesDoNotFit) {
  EXPECT_TRUE((Box{{1, 0}, {1, 3}}).fits({2, 3}));
  EXPECT_FALSE((Box{{1, 0}, {2, 3}}).fits({2, 3}));
  EXPECT_FALSE((Box{{-1, 0}, {1, 3}}).fits({2, 3}));
  EXPECT_FALSE((Box{{0}, {2}}).fits({2, 3}));
  EXPECT_FALSE((Box{{int64_t{1} << 62, 0}, {int64_t{1} << 62, 3}}).fits({2, 3}));
  EXPECT_FALSE((Region{{{0}, {4}}, 2, 5}).fits({4}));
}

}  // namespace
}  // namespace sy
