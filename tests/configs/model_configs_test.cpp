// configs/models and configs/runs: complete configs whose parameter counts are the published ones and the ones of a
// formula written down here, found on the meta device.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "trainer/config.h"
#include "trainer/dry_run.h"
#include "trainer/layout.h"

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
  const bool all_heads = c.model.qk_norm_scope == QkNormScope::kAllHeads;
  const int64_t norms = !c.model.use_qk_norm ? 0 : all_heads ? q + kv : 2 * h;
  const int64_t attention = d * (q + 2 * kv) + q * d + norms;
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

// The ranks that a file is for: "..._8gpus.yaml" is for 8, a name without a number for any, of which one is tried.
int64_t ranks_of(const std::string& path) {
  std::smatch match;
  return std::regex_search(path, match, std::regex("_([0-9]+)gpus?\\.yaml$")) ? std::stoll(match[1]) : 1;
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(ModelConfigs, EveryFileOfModelsAndRunsIsCompleteAndFitsItsRanks) {
  int files = 0, layouts = 0;
  for (const char* folder : {"models", "runs"})
    for (const auto& entry : std::filesystem::directory_iterator(path_of(folder))) {
      const std::string path = entry.path().string();
      SCOPED_TRACE(path);
      const int64_t ranks = ranks_of(path);
      const Config config = load_config(path, {}, ranks);
      const MeshSizes mesh = mesh_sizes(config.parallel, ranks);
      EXPECT_EQ(why_illegal(mesh, mesh_demands(config)), "");
      EXPECT_GT(dry_run(config).model.total_parameters, 0);
      EXPECT_EQ(config.data.train_data_path, (std::vector<std::string>{"corpora/kjv_train"}));
      EXPECT_GT(config.train.train_iters, 0);
      ++files;
      if (path.find("gpu") == std::string::npos) continue;
      // What the comment says about the mesh and the start is what the file does.
      const std::string text = text_of(path);
      EXPECT_NE(text.find("#   mesh   " + describe(mesh) + "\n"), std::string::npos) << describe(mesh);
      EXPECT_NE(text.find(fmt::format("mpirun -np {} ", ranks)), std::string::npos);
      EXPECT_NE(text.find(" train configs/runs/" + entry.path().filename().string() + "\n"), std::string::npos);
      EXPECT_EQ(config.device.type, DeviceType::cuda);
      EXPECT_EQ(config.train.dtype, ComputeType::kBf16);
      ++layouts;
    }
  EXPECT_GE(files, 10);
  EXPECT_EQ(layouts, 4);
}

// The layouts of configs/runs change nothing of the models that they spread.
TEST(ModelConfigs, LayoutsOfTheSameModelDifferInTheirLayoutOnly) {
  const auto expect_same = [](const std::string& a, int64_t ranks_a, const std::string& b, int64_t ranks_b) {
    SCOPED_TRACE(b);
    const Config x = load_config(path_of(a), {}, ranks_a), y = load_config(path_of(b), {}, ranks_b);
    EXPECT_TRUE(x.model == y.model && x.train == y.train && x.optimizer == y.optimizer && x.data == y.data);
    EXPECT_EQ(dry_run(x).model.active_parameters, dry_run(y).model.active_parameters);
  };
  expect_same("runs/moe_1b_1gpu.yaml", 1, "runs/moe_1b_2gpus.yaml", 2);
  expect_same("models/olmoe_1b_7b.yaml", 1, "runs/olmoe_1b_7b_8gpus.yaml", 8);
  expect_same("models/qwen3_30b_a3b.yaml", 1, "runs/qwen3_30b_a3b_64gpus.yaml", 64);
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
