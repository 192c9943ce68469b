// The memory that a dry run on the meta device predicts is that of a real step, byte for byte and kind by kind.
#include "trainer/dry_run.h"

#include <gtest/gtest.h>

#include "tests/trainer/toy_run.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;

class PredictedMemory : public ::testing::TestWithParam<Overrides> {};

TEST_P(PredictedMemory, EqualsThatOfARealStep) {
  const Config config = toy_config(GetParam());
  ToyRun toy(config);
  toy.step(1);
  const MemoryUse real = toy.ctx().allocator().use(), predicted = dry_run(config).memory;
  for (int k = 0; k < kNumMemoryKinds; ++k) {
    const auto i = static_cast<std::size_t>(k);
    EXPECT_EQ(predicted.peak_bytes[i], real.peak_bytes[i]) << "peak " << memory_kind_name(static_cast<MemoryKind>(k));
    EXPECT_EQ(predicted.live_bytes[i], real.live_bytes[i]) << "live " << memory_kind_name(static_cast<MemoryKind>(k));
  }
  EXPECT_EQ(predicted.total_peak_bytes, real.total_peak_bytes);
  EXPECT_EQ(predicted.total_live_bytes, real.total_live_bytes);
  EXPECT_GT(real.peak_bytes[static_cast<std::size_t>(MemoryKind::activations)], 0);
}

TEST_P(PredictedMemory, DoesNotGrowFromStepToStep) {
  ToyRun toy(toy_config(GetParam()));
  toy.step(1);
  const MemoryUse first = toy.ctx().allocator().use();
  for (int64_t s = 2; s <= 4; ++s) toy.step(s);
  const MemoryUse later = toy.ctx().allocator().use();
  EXPECT_EQ(later.total_live_bytes, first.total_live_bytes);
  EXPECT_EQ(later.total_peak_bytes, first.total_peak_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    Configs, PredictedMemory,
    ::testing::Values(
        Overrides{"train.global_batch_size=2"}, Overrides{"train.global_batch_size=4"}, Overrides{},
        Overrides{"train.global_batch_size=16"}, Overrides{"train.dtype=bf16"}, Overrides{"train.dtype=f64"},
        Overrides{"train.recompute=full"},
        Overrides{"train.recompute=full", "train.dtype=bf16", "train.global_batch_size=2"},
        Overrides{"moe.capacity={type: position, factor: 1.0}"},
        Overrides{"moe.capacity={type: random, overflow: next_choice}", "train.recompute=full"},
        Overrides{"moe.capacity={type: score, overflow: identity}", "moe.allow_batch_dependent_routing=true"},
        Overrides{"moe.balance=[{type: load_balancing}, {type: z_loss}, {type: entropy}, {type: squared_cv}]",
                  "moe.hooks=[{type: selection_bias}]"},
        Overrides{"moe.router={type: switch_top1}", "moe.num_experts_per_tok=1"}, Overrides{"moe.router={type: hash}"},
        Overrides{"moe.router={type: top_p}"},
        Overrides{"moe.router={type: expert_choice}", "moe.allow_batch_dependent_routing=true"},
        Overrides{"moe.expert_intermediate_sizes=[16, 24, 16, 24, 16, 16]", "moe.moe_intermediate_size=null"},
        Overrides{"model.tie_word_embeddings=true", "moe.shared_expert_intermediate_size=0"}, Overrides{"moe=null"}));

TEST(DryRun, RecomputationNeedsLessActivationMemory) {
  const auto activations = [](const Overrides& overrides) {
    return dry_run(toy_config(overrides)).memory.peak_bytes[static_cast<std::size_t>(MemoryKind::activations)];
  };
  EXPECT_LT(activations({"train.recompute=full"}), activations({}));
}

}  // namespace
}  // namespace sy::testing
