// Methods that look at data, on one layer: experts by what neurons do on samples.
#include "tests/csrc/upcycling/method_testing.h"

namespace sy::upcycling {
namespace {

using testing::convert;
using testing::expect_close;
using testing::hand_block;
using testing::neurons_of;
using testing::plan_of;
using testing::sum_of;

// Salience (3.655, 0, 2.858, 2.193) on the first text, (0, 3.523, .714, 2.193) on the second.
TEST(LlamaMoe, SplitsBySalienceOnTheHandWorkedExample) {
  const Ffn dense = hand_block();
  const LayerSamples texts = {{.x_TD = {1, 2}, .dy_TD = {1, 0}}, {.x_TD = {1, 2}, .dy_TD = {0, 1}}};
  LayerPlan plan = plan_of(dense, 2, 2, 2, .5);
  plan.num_texts = 2;
  const MoeWeights divided = convert("{type: llama_moe, split: gradient, scale: exact}", plan, {dense}, texts);
  EXPECT_EQ(neurons_of(divided.experts[0]), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(neurons_of(divided.experts[1]), (std::vector<int64_t>{1, 3}));
  expect_close(sum_of(divided, 0, 2, .5, {1, 2}), {4.319840, -0.615582}, 5e-7);

  plan.expert_width = 3;
  const MoeWeights inner = convert("{type: llama_moe, split: sharing_inner}", plan, {dense}, texts);
  EXPECT_EQ(neurons_of(inner.experts[0]), (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(neurons_of(inner.experts[1]), (std::vector<int64_t>{1, 2, 3}));

  plan.expert_width = 1;
  plan.shared_width = 2;
  const MoeWeights inter = convert("{type: llama_moe, split: sharing_inter, scale: exact}", plan, {dense}, texts);
  EXPECT_EQ(neurons_of(*inter.shared), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(neurons_of(inter.experts[0]), (std::vector<int64_t>{2}));
  EXPECT_EQ(neurons_of(inter.experts[1]), (std::vector<int64_t>{3}));
  expect_close(sum_of(inter, 0, 2, .5, {1, 2}), {4.319840, -0.615582}, 5e-7);
}

TEST(LlamaMoe, RefusesTextsAndWidthsThatDoNotFitTheSplit) {
  const Ffn dense = hand_block();
  LayerPlan plan = plan_of(dense, 2, 2, 2, .5);
  plan.num_texts = 3;
  EXPECT_THROW(convert("{type: llama_moe, split: gradient}", plan, {dense}), UserError);
  plan.num_texts = 2;
  plan.shared_width = 1;
  EXPECT_THROW(convert("{type: llama_moe, split: sharing_inter}", plan, {dense}), UserError);
  plan.shared_width = 0;
  plan.expert_width = 5;
  EXPECT_THROW(convert("{type: llama_moe, split: sharing_inner}", plan, {dense}), UserError);
}

}  // namespace
}  // namespace sy::upcycling
