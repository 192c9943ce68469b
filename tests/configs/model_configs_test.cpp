// configs/models and configs/runs: complete configs whose parameter counts are the published ones and the ones of a
// formula written down here, found on the meta device.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "trainer/config.h"
#include "trainer/dry_run.h"

namespace sy {
namespace {

std::string path_of(const std::string& name) { return std::string(SY_SOURCE_DIR) + "/configs/" + name; }

struct Counts {
  int64_t total = 0, active = 0;
};

// Parameters from the shape alone: V vocabulary, D width, layers, heads of width H, dense layers of width I, MoE layers
// of `experts` experts of width F (k of them active) beside a shared one.
Counts counted(const Config& c) {
  const int64_t v = c.model.vocab_size, d = c.model.hidden_size, h = c.model.head_size();
  const int64_t q = c.model.num_attention_heads * h, kv = c.model.kv_heads() * h;
  const int64_t attention = d * (q + 2 * kv) + q * d + (c.model.use_qk_norm ? 2 * h : 0);
  Counts n;
  n.total = v * d * (c.model.tie_word_embeddings ? 1 : 2) + d;
  n.active = n.total;
  for (int64_t layer = 0; layer < c.model.num_hidden_layers; ++layer) {
    const bool dense = !c.moe.is_moe() || layer < c.moe.first_k_dense_replace;
    const int64_t everywhere = attention + 2 * d +
                               (dense ? 3 * d * c.model.intermediate_size
                                      : c.moe.num_experts * d + 3 * d * c.moe.shared_expert_intermediate_size);
    const int64_t expert = dense ? 0 : 3 * d * c.moe.moe_intermediate_size;
    n.total += everywhere + c.moe.num_experts * expert;
    n.active += everywhere + c.moe.num_experts_per_tok * expert;
  }
  return n;
}

struct Published {
  const char* name;
  double total, active;
};

class PublishedModel : public testing::TestWithParam<Published> {};

TEST_P(PublishedModel, HasThePublishedCountsWithinOnePercentAndTheFormulasExactly) {
  const Config config = load_config(path_of(std::string("models/") + GetParam().name + ".yaml"), {});
  const DryRun dry = dry_run(config);
  const Counts formula = counted(config);
  EXPECT_EQ(dry.model.total_parameters, formula.total);
  EXPECT_EQ(dry.model.active_parameters, formula.active);
  EXPECT_NEAR(static_cast<double>(dry.model.total_parameters) / GetParam().total, 1, 0.01);
  // Published to two figures: half of the last one may be missing.
  EXPECT_NEAR(static_cast<double>(dry.model.active_parameters) / GetParam().active, 1,
              0.01 + 0.05e9 / GetParam().active);
}

INSTANTIATE_TEST_SUITE_P(Models, PublishedModel,
                         testing::Values(Published{"olmoe_1b_7b", 6.92e9, 1.28e9},
                                         Published{"qwen3_30b_a3b", 30.5e9, 3.3e9},
                                         Published{"mixtral_8x7b", 46.7e9, 12.9e9},
                                         Published{"deepseek_moe_16b", 16.4e9, 2.8e9}),
                         [](const auto& info) { return std::string(info.param.name); });

// Hundreds of gigabytes exist as numbers only, whatever router is chosen.
TEST(ModelConfigs, InspectingTheLargestModelTakesLittleMemory) {
  const std::string path = path_of("models/qwen3_30b_a3b.yaml");
  EXPECT_GT(dry_run(load_config(path, {})).memory.total_peak_bytes, int64_t{500} << 30);
  dry_run(load_config(path, {"moe.router={type: hash}", "moe.balance=null"}));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  EXPECT_LT(usage.ru_maxrss, 200 * 1024) << "kB";
}

TEST(ModelConfigs, EveryFileOfModelsAndRunsIsComplete) {
  int files = 0;
  for (const char* folder : {"models", "runs"})
    for (const auto& entry : std::filesystem::directory_iterator(path_of(folder))) {
      SCOPED_TRACE(entry.path().string());
      const Config config = load_config(entry.path().string(), {});
      EXPECT_GT(dry_run(config).model.total_parameters, 0);
      EXPECT_EQ(config.data.train_data_path, (std::vector<std::string>{"corpora/kjv_train"}));
      EXPECT_GT(config.train.train_iters, 0);
      ++files;
    }
  EXPECT_GE(files, 6);
}

TEST(ModelConfigs, TheDenseQuickstartDiffersInItsFeedForwardOnly) {
  const Config moe = load_config(path_of("quickstart.yaml"), {});
  Config dense = load_config(path_of("runs/quickstart_dense.yaml"), {});
  EXPECT_FALSE(dense.moe.is_moe());
  EXPECT_EQ(dense.model.intermediate_size, moe.moe.num_experts_per_tok * moe.moe.moe_intermediate_size);
  // What the MoE model has on top is its router.
  const int64_t routers = moe.model.num_hidden_layers * moe.moe.num_experts * moe.model.hidden_size;
  EXPECT_EQ(dry_run(moe).model.active_parameters, dry_run(dense).model.active_parameters + routers);
  dense.model.intermediate_size = moe.model.intermediate_size;
  dense.logging.run_dir = moe.logging.run_dir;
  EXPECT_TRUE(dense.model == moe.model && dense.data == moe.data && dense.train == moe.train);
  EXPECT_TRUE(dense.optimizer == moe.optimizer && dense.checkpoint == moe.checkpoint && dense.logging == moe.logging);
}

}  // namespace
}  // namespace sy
