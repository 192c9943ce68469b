// What neurons make of sample inputs, on the block worked out by hand.
#include "csrc/upcycling/samples.h"

#include "tests/csrc/upcycling/method_testing.h"

namespace sy::upcycling {
namespace {

using testing::expect_close;
using testing::hand_block;

TEST(Samples, ActivationsAndOutputsAreTheHandWorkedOnes) {
  const std::vector<float> x_TD = {0, 0, 1, 2};
  expect_close(activations(hand_block(), x_TD), {0, 0, 0, 0, 3.655293, -3.523188, 1.428861, 2.193176}, 5e-7);
  expect_close(outputs(hand_block(), x_TD), {0, 0, 4.319840, -0.615582}, 5e-7);
}

// dloss/dh_i is column i of W_down times dy: (1, 0, 2, -1) and (0, 1, .5, 1).
TEST(Samples, SalienceIsTheMeanOfWhatEachNeuronMovesTheLossBy) {
  expect_close(salience(hand_block(), {.x_TD = {1, 2}, .dy_TD = {1, 0}}), {3.655293, 0, 2.857722, 2.193176}, 5e-7);
  expect_close(salience(hand_block(), {.x_TD = {1, 2, 0, 0}, .dy_TD = {0, -2, 9, 9}}),
               {0, 3.523188, .7144305, 2.193176}, 5e-7);
}

TEST(Samples, NeuronsFireTogetherWhereBothAreAmongTheTokensLargest) {
  // At (1, 2) neurons 0 and 1 have the largest |h|; at (-1, 2) 3 and 1.
  const std::vector<double> pairs = coactivation(hand_block(), std::vector<float>{1, 2, 1, 2, -1, 2}, 2);
  expect_close(pairs, {0, 2, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0}, 0);
}

}  // namespace
}  // namespace sy::upcycling
