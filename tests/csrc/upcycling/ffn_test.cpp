// Operations on one SwiGLU block, on a block worked out by hand.
#include "csrc/upcycling/ffn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/csrc/upcycling/small_block.h"

namespace sy::upcycling {
namespace {

using testing::forward;
using testing::hand_block;
using testing::random_block;

TEST(Ffn, TheHandWorkedBlockAndItsHalves) {
  const std::vector<double> x = {1, 2};
  const auto expect = [&](const Ffn& ffn, double a, double b) {
    const std::vector<double> y = forward(ffn, x);
    EXPECT_NEAR(y[0], a, 5e-7);
    EXPECT_NEAR(y[1], b, 5e-7);
  };
  expect(hand_block(), 4.319840, -0.615582);
  expect(slice(hand_block(), 0, 2), 3.655293, -3.523188);
  expect(slice(hand_block(), 2, 2), 0.664547, 2.907606);
}

TEST(Ffn, NeuronsMoveTogetherAndKeepTheirOrigin) {
  const Ffn block = random_block(10, 3, 1);
  const std::vector<int64_t> order = Stream(7, "order", 0, 0).permutation(10);
  const Ffn moved = neurons(block, order);
  const std::vector<double> x = {.3, -1, 2}, y = forward(moved, x), same = forward(block, x);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(y[i], same[i], 1e-13);
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(moved.origin_F[i].neuron, order[i]);
}

TEST(Ffn, StreamsDifferByEveryCoordinateAndPermutationsAreComplete) {
  const std::vector<int64_t> order = Stream(1, "a", 2, 3).permutation(100);
  EXPECT_EQ(order, Stream(1, "a", 2, 3).permutation(100));
  for (const Stream& other : {Stream(2, "a", 2, 3), Stream(1, "b", 2, 3), Stream(1, "a", 3, 3), Stream(1, "a", 2, 4)})
    EXPECT_NE(order, other.permutation(100));
  std::vector<int64_t> sorted = order, all(100);
  std::sort(sorted.begin(), sorted.end());
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);
}

TEST(Ffn, RedrawnNeuronsHaveTheStatisticsOfTheWeightsTheyReplaceAndTheOthersStay) {
  Ffn block = random_block(2048, 8, 2);
  for (double& w : block.weight_FD[kUp]) w = 3 + 5 * w;
  const Ffn before = block;
  const std::vector<int64_t> chosen = Stream(1, "chosen", 0, 0).choose(1024, 2048);
  const Normal replaced = statistics(block, kUp, chosen);
  reinitialise(block, kUp, chosen, replaced, Stream(1, "redraw", 0, 0));
  const Normal drawn = statistics(block, kUp, chosen);
  EXPECT_NEAR(drawn.std, replaced.std, 0.05 * replaced.std);
  EXPECT_NEAR(drawn.mean, replaced.mean, 0.05 * replaced.std);
  EXPECT_EQ(block.weight_FD[kGate], before.weight_FD[kGate]);
  EXPECT_EQ(block.weight_FD[kDown], before.weight_FD[kDown]);
  int64_t changed = 0;
  for (int64_t i = 0; i < 2048; ++i) {
    const auto row = static_cast<std::ptrdiff_t>(8 * i);
    const bool equal = std::equal(block.weight_FD[kUp].begin() + row, block.weight_FD[kUp].begin() + row + 8,
                                  before.weight_FD[kUp].begin() + row);
    EXPECT_EQ(equal, block.origin_F[static_cast<size_t>(i)] != kNew);
    changed += equal ? 0 : 1;
  }
  EXPECT_EQ(changed, 1024);
}

TEST(Ffn, StandardDeviationIsUnbiased) {
  Ffn block = hand_block();
  const std::vector<int64_t> two = {0, 1};
  const Normal n = statistics(block, kGate, two);  // 1 0 0 1
  EXPECT_DOUBLE_EQ(n.mean, 0.5);
  EXPECT_DOUBLE_EQ(n.std, std::sqrt(1.0 / 3));
}

TEST(RouterRows, HaveTheirDeviationAndRepeatInGroups) {
  const Stream stream(3, "router", 0, 0);
  for (const std::vector<double>& rows :
       {normal_rows(64, 64, 0.02, stream), centred_uniform_rows(64, 64, 0.02, stream)}) {
    double square = 0;
    for (const double w : rows) square += w * w;
    EXPECT_NEAR(std::sqrt(square / 4096), 0.02, 0.001);
  }
  const std::vector<double> uniform = centred_uniform_rows(4, 4, 0.02, stream);
  EXPECT_NEAR(std::accumulate(uniform.begin(), uniform.end(), 0.0), 0, 1e-15);
  const std::vector<double> rows = repeated_rows(3, 2, 4, 1, stream), distinct = normal_rows(3, 4, 1, stream);
  ASSERT_EQ(rows.size(), 24u);
  for (size_t e = 0; e < 6; ++e)
    for (size_t j = 0; j < 4; ++j) EXPECT_EQ(rows[4 * e + j], distinct[4 * (e / 2) + j]);
}

}  // namespace
}  // namespace sy::upcycling
