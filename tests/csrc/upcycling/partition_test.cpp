// Dividing neurons among experts: parts of equal size, and the parts that are there to be found.
#include "csrc/upcycling/partition.h"

#include "tests/csrc/upcycling/method_testing.h"

namespace sy::upcycling {
namespace {

TEST(Partition, RandomPartsAreEqualAndHoldEveryNeuronOnce) {
  std::vector<int64_t> count(12, 0);
  for (const auto& part : random_partition(12, 3, Stream(1, "split", 0, 0))) {
    EXPECT_EQ(part.size(), 4u);
    for (const int64_t i : part) ++count[static_cast<size_t>(i)];
  }
  EXPECT_EQ(count, std::vector<int64_t>(12, 1));
}

// Three hidden groups: i mod 3. Weight 1 inside a group and 0.1 between groups.
TEST(Partition, HeavyPartsAreTheHiddenGroupsWhateverTheStart) {
  std::vector<double> weight(12 * 12, 0.0);
  for (size_t i = 0; i < 12; ++i)
    for (size_t j = 0; j < 12; ++j)
      if (i != j) weight[12 * i + j] = i % 3 == j % 3 ? 1 : 0.1;
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (const auto& part : heavy_parts(weight, 12, 3, 100, Stream(seed, "split", 0, 0))) {
      ASSERT_EQ(part.size(), 4u);
      for (const int64_t i : part) EXPECT_EQ(i % 3, part[0] % 3) << "seed " << seed;
    }
}

TEST(Partition, EveryPairIsTakenByFallingWantWhileThereIsRoom) {
  EXPECT_EQ(by_falling_want({{5, 4, 3, 2}, {6, 1, 2, 0}}), (Partition{{1, 2}, {0, 3}}));
}

TEST(Partition, OfEquallyWantedNeuronsTheFirstAreTaken) {
  EXPECT_EQ(most_wanted({1, 3, 2, 2, 2}, 3), (std::vector<int64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace sy::upcycling
