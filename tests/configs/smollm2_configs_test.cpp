// configs/smollm2: the arms of one experiment differ in nothing but what is compared, and fit the memory of a laptop.
#include <gtest/gtest.h>

#include <cmath>

#include "csrc/io/print_fields.h"
#include "trainer/config.h"
#include "trainer/dry_run.h"
#include "trainer/upcycle.h"

namespace sy {
namespace {

std::string path_of(const std::string& name) { return std::string(SY_SOURCE_DIR) + "/configs/smollm2/" + name; }

Config dense() { return load_config(path_of("train_dense.yaml"), {}, 2); }
Config moe() { return load_config(path_of("train_moe.yaml"), {}, 2); }

template <class Section>
std::string text(Section section) {
  return print_fields([&](Fields& f) { describe(section, f); });
}

TEST(SmolLm2Configs, BothArmsLearnFromTheSameBatchesInTheSameWay) {
  Config a = dense(), b = moe();
  EXPECT_EQ(text(a.data), text(b.data));
  a.train.train_iters = b.train.train_iters;
  a.train.eval_interval = b.train.eval_interval;
  EXPECT_EQ(text(a.train), text(b.train));
  EXPECT_EQ(text(a.optimizer), text(b.optimizer));
  EXPECT_GE(a.train.global_batch_size, 16);
  EXPECT_EQ(a.train.seq_length, 512);
  EXPECT_EQ(b.parallel.expert_model_parallel_size, 2);
  b.model.intermediate_size = a.model.intermediate_size;  // the dense blocks' width is the experts'
  EXPECT_EQ(a.model.intermediate_size, b.moe.moe_intermediate_size);
  EXPECT_EQ(text(a.model), text(b.model));
}

TEST(SmolLm2Configs, TheStepsInTheFilesCostTheSameWithinOneStep) {
  const Config a = dense(), b = moe();
  const double dense_flops = static_cast<double>(a.train.train_iters) * model_size(a).training_flops_per_token,
               moe_flops = static_cast<double>(b.train.train_iters) * model_size(b).training_flops_per_token;
  EXPECT_LT(std::abs(dense_flops - moe_flops), model_size(b).training_flops_per_token);
}

TEST(SmolLm2Configs, TwoRanksOfTheMoeNeedLessThan16GB) {
  const DryRun dry = dry_run(moe(), 2);
  EXPECT_EQ(dry.moe_layers, 30);
  EXPECT_LT(2 * dry.memory.total_peak_bytes, 16'000'000'000);
}

TEST(SmolLm2Configs, RecipesMakeTheModelThatIsTrained) {
  const Config trained = moe();
  for (const char* way : {"copy", "drop"}) {
    const auto recipe = load_recipe<UpcycleConfig>(path_of(std::string("upcycle_") + way + ".yaml"), {});
    EXPECT_EQ(text(recipe.moe), text(trained.moe)) << way;
    EXPECT_EQ(recipe.recipe.output, std::string("runs/smollm2_") + way);
    EXPECT_EQ(recipe.recipe.inputs.front(), dense().checkpoint.pretrained_checkpoint);
  }
}

}  // namespace
}  // namespace sy
