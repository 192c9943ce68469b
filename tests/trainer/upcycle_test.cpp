// Upcycling whole models: an MoE that computes what its dense model does where that is promised, its lineage and
// record, and mistakes that leave nothing.
#include "trainer/upcycle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "csrc/io/safetensors.h"
#include "tests/trainer/dense_toy.h"
#include "tests/trainer/sample_corpus.h"
#include "trainer/hub_export.h"
#include "trainer/hub_import.h"
#include "trainer/merge.h"

namespace sy::testing {
namespace {

std::string recipe_yaml(const TempDir& temp, const std::string& inputs, const std::string& method,
                        const std::string& moe) {
  return fmt::format("inputs: [{}]\noutput: {}\nmethod: {}\nmoe: {}\n", inputs, temp.file("moe"), method, moe);
}

std::string moe_yaml(int64_t experts, int64_t per_token, int64_t width, const std::string& router,
                     const std::string& more = "") {
  return fmt::format("{{num_experts: {}, num_experts_per_tok: {}, moe_intermediate_size: {}, router: {}{}}}", experts,
                     per_token, width, router, more);
}

const char* const kAfter = "{type: softmax_topk, softmax: after}";
const char* const kRenormalised = "{type: softmax_topk, norm_topk_prob: true}";
const char* const kRaw = "{type: softmax_topk, norm_topk_prob: false}";

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  EXPECT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

struct Exact {
  const char* name;
  std::string method, moe;
};
std::ostream& operator<<(std::ostream& out, const Exact& e) { return out << e.name; }

class ExactStart : public ::testing::TestWithParam<Exact> {};

TEST_P(ExactStart, LogitsAreTheDenseModels) {
  for (const auto& [dtype, bound] : {std::pair("f32", 1e-5), std::pair("f64", 1e-12)}) {
    const TempDir temp;
    ToyRun dense(dense_toy_config({fmt::format("train.dtype={}", dtype)}));
    dense.curve(1, 3);
    const std::string input = save_run(dense, temp.file("dense"));
    upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, input, GetParam().method, GetParam().moe)));
    const auto moe = run_from(temp.file("moe"));
    EXPECT_TRUE(moe->config().moe.is_moe());
    EXPECT_LT(largest_difference(logits_of(*moe), logits_of(dense)), bound) << dtype;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Methods, ExactStart,
    ::testing::Values(
        Exact{"sparse_after", "sparse_upcycling", moe_yaml(4, 2, 48, kAfter)},
        Exact{"sparse_renormalised", "sparse_upcycling", moe_yaml(4, 2, 48, kRenormalised)},
        Exact{"sparse_every_other_layer", "sparse_upcycling", moe_yaml(4, 2, 48, kAfter, ", moe_layer_freq: 2")},
        Exact{"groups_raw_of_equal_logits",
              "{type: virtual_groups, granularity: 2, scale_rule: sqrt_up_down, router_std: 0}",
              moe_yaml(8, 2, 24, kRaw)},
        Exact{"groups_normalised", "{type: virtual_groups, granularity: 2, scale_rule: down_only}",
              moe_yaml(8, 4, 24, kAfter)},
        Exact{"dynamic_dino", "dynamic_dino", moe_yaml(9, 3, 16, kAfter)},
        Exact{"shared_split", "shared_split", moe_yaml(6, 3, 12, kAfter, ", shared_expert_intermediate_size: 12")},
        Exact{"whole_partition", "{type: llama_moe, split: clustered, scale: exact, router_std: 0}",
              moe_yaml(4, 4, 12, kAfter)},
        Exact{"drop_nothing", "{type: drop_upcycling, ratio: 0}", moe_yaml(4, 2, 48, kAfter)}),
    [](const auto& info) { return info.param.name; });

TEST(Upcycle, AllExpertsOfMethodsThatLookAtDataAreTheDenseModel) {
  for (const char* method :
       {"{type: moefication, logit_deviation: 1.0e-12}", "{type: factor_llm, logit_deviation: 1.0e-12}",
        "{type: moefication, split: coactivation, logit_deviation: 1.0e-12}",
        "{type: llama_moe, split: gradient, scale: exact, router_std: 0}"}) {
    const TempDir temp;
    ToyRun dense(dense_toy_config({"train.dtype=f64", "model.vocab_size=260"}));
    const std::string input = save_run(dense, temp.file("dense"));
    std::string texts;
    for (int64_t i = 0; i < 4; ++i) {
      texts += (i > 0 ? ", " : "") + temp.file(fmt::format("text_{}", i));
      write_sample_corpus(temp.file(fmt::format("text_{}", i)), 40, i);
    }
    upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, input, method, moe_yaml(4, 4, 12, kAfter)) +
                                     "sample_data_path: [" + texts + "]"));
    EXPECT_LT(largest_difference(logits_of(*run_from(temp.file("moe"))), logits_of(dense)), 1e-10) << method;
  }
}

TEST(Upcycle, RawProbabilitiesShrinkTheOutputOfPlainCopies) {
  const TempDir temp;
  ToyRun dense(dense_toy_config());
  const std::string input = save_run(dense, temp.file("dense"));
  upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, input, "sparse_upcycling", moe_yaml(8, 2, 48, kRaw))));
  EXPECT_GT(largest_difference(logits_of(*run_from(temp.file("moe"))), logits_of(dense)), 1e-2);
}

TEST(Upcycle, ARunFromTheResultTrains) {
  const TempDir temp;
  ToyRun dense(dense_toy_config());
  const std::string input = save_run(dense, temp.file("dense"));
  upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, input, "drop_upcycling", moe_yaml(4, 2, 48, kAfter))));
  const auto moe = run_from(temp.file("moe"));
  const std::vector<double> curve = moe->curve(1, 10);  // loss, norm, loss, norm ...
  EXPECT_LT(curve[curve.size() - 2], curve[0]);
}

// Logits of the real vocabulary: a converted model pads it otherwise.
std::vector<double> vocabulary_logits(ToyRun& toy) {
  const std::vector<double> padded = logits_of(toy);
  const auto columns = static_cast<size_t>(toy.config().model.padded_vocab_size());
  std::vector<double> logits;
  for (size_t i = 0; i < padded.size(); ++i)
    if (i % columns < static_cast<size_t>(toy.config().model.vocab_size)) logits.push_back(padded[i]);
  return logits;
}

TEST(Upcycle, AnExportedResultComesBackWithEqualLogits) {
  struct Case {
    const char* model_type;
    std::string override, method, moe;
    double bound = 0;  // Qwen3-MoE renormalises probabilities where we take a softmax of the selected: rounding
  };
  for (const Case& c : {Case{"qwen3_moe", "model.use_qk_norm=true", "drop_upcycling", moe_yaml(4, 2, 48, kAfter), 1e-5},
                        Case{"mixtral", "model.use_qk_norm=false", "sparse_upcycling", moe_yaml(4, 2, 48, kAfter)},
                        Case{"switchyard", "model.use_qk_norm=true", "shared_split",
                             moe_yaml(6, 3, 12, kAfter, ", shared_expert_intermediate_size: 12")}}) {
    SCOPED_TRACE(c.model_type);
    const TempDir temp;
    ToyRun dense(dense_toy_config({c.override}));
    const std::string input = save_run(dense, temp.file("dense"));
    upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, input, c.method, c.moe)));
    const CheckpointReader made(resolve_checkpoint(temp.file("moe")));
    EXPECT_EQ(convert_checkpoint(made, temp.file("hub")).model_type, c.model_type);
    import_model(open_hub_folder(temp.file("hub")), temp.file("back"));
    const auto back = run_from(temp.file("back")), moe = run_from(temp.file("moe"));
    EXPECT_LE(largest_difference(vocabulary_logits(*back), vocabulary_logits(*moe)), c.bound);
  }
}

TEST(Upcycle, LineageNamesEveryNeuronsSourceAndTheRecordHashesIt) {
  const TempDir temp;
  ToyRun dense(dense_toy_config());
  const std::string input = save_run(dense, temp.file("dense"));
  const DerivationReport report =
      upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, input, "drop_upcycling", moe_yaml(4, 2, 48, kAfter))));
  const SafetensorsReader lineage(temp.file("moe/lineage.safetensors"));
  EXPECT_EQ(lineage.entries().size(), 12u);  // 3 layers of 4 experts
  const TensorView view = lineage.view("model.layers.2.mlp.experts.3", DType::i32, {48, 3});
  const auto* rows = static_cast<const int32_t*>(view.data);
  const auto moe = run_from(temp.file("moe"));
  const std::vector<double> before = dense.parameters().at("model.layers.2.mlp.up_proj.weight"),
                            after = moe->parameters().at("model.layers.2.mlp.experts.3.up_proj.weight");
  int64_t fresh = 0;
  for (int64_t i = 0; i < 48; ++i) {
    const int32_t input_index = rows[3 * i], layer = rows[3 * i + 1], neuron = rows[3 * i + 2];
    if (neuron < 0) {
      ++fresh;
      continue;
    }
    EXPECT_EQ(input_index, 0);
    EXPECT_EQ(layer, 2);
    for (int64_t j = 0; j < 32; ++j)
      EXPECT_EQ(after[static_cast<size_t>(32 * i + j)], before[static_cast<size_t>(32 * neuron + j)]);
  }
  EXPECT_EQ(fresh, 24);
  const std::string record = read_text_file(temp.file("moe/derivation.json"));
  for (const std::string& part : {report.lineage_hash, StoredModel(input).hash(), std::string("drop_upcycling")})
    EXPECT_NE(record.find(part), std::string::npos) << part;
}

TEST(Upcycle, BranchTrainMixTakesExpertsFromItsInputsAndAveragesTheRest) {
  const TempDir temp;
  ToyRun a(dense_toy_config()), b(dense_toy_config({"train.seed=9"}));
  const std::string inputs = save_run(a, temp.file("a")) + ", " + save_run(b, temp.file("b"));
  upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, inputs, "branch_train_mix", moe_yaml(4, 2, 48, kAfter))));
  NamedValues moe = run_from(temp.file("moe"))->parameters(), of_a = a.parameters(), of_b = b.parameters();
  for (const char* matrix : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"})
    for (int e = 0; e < 4; ++e)
      EXPECT_EQ(moe.at(fmt::format("model.layers.1.mlp.experts.{}.{}", e, matrix)),
                (e < 2 ? of_a : of_b).at(fmt::format("model.layers.1.mlp.{}", matrix)));
  const std::string name = "model.embed_tokens.weight";
  for (size_t i = 0; i < moe.at(name).size(); ++i)
    EXPECT_EQ(moe.at(name)[i], static_cast<float>((of_a.at(name)[i] + of_b.at(name)[i]) / 2));
}

TEST(Upcycle, WhatIsNotABlockIsMergedAsTheMergeCommandDoesIt) {
  const TempDir temp;
  ToyRun seed(dense_toy_config()), a(dense_toy_config({"train.seed=8"})), b(dense_toy_config({"train.seed=9"}));
  const std::string base = save_run(seed, temp.file("seed")),
                    inputs = save_run(a, temp.file("a")) + ", " + save_run(b, temp.file("b"));
  for (const std::string method :
       {"{type: dare_ties, drop_rate: 0.4}", "{type: ties, scope: model}", "{type: task_arithmetic, lambda: 0.4}"}) {
    upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, inputs, "branch_train_mix", moe_yaml(2, 2, 48, kAfter)) +
                                     fmt::format("base: {}\nmerge: {}\n", base, method)));
    merge(recipe_of<MergeConfig>(
        fmt::format("inputs: [{}]\noutput: {}\nmethod: {}\nbase: {}\n", inputs, temp.file("merged"), method, base)));
    NamedValues moe = run_from(temp.file("moe"))->parameters(), merged = run_from(temp.file("merged"))->parameters();
    for (const char* name : {"model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight"}) {
      EXPECT_EQ(moe.at(name), merged.at(name)) << method << " " << name;
      EXPECT_NE(moe.at(name), a.parameters().at(name));
    }
    std::filesystem::remove_all(temp.file("moe"));
    std::filesystem::remove_all(temp.file("merged"));
  }
}

TEST(Upcycle, EqualInputsMixToTheDenseModel) {
  const TempDir temp;
  ToyRun a(dense_toy_config());
  const std::string input = save_run(a, temp.file("a"));
  upcycle(recipe_of<UpcycleConfig>(
      recipe_yaml(temp, input + ", " + input, "branch_train_mix", moe_yaml(2, 2, 48, kAfter))));
  EXPECT_LT(largest_difference(logits_of(*run_from(temp.file("moe"))), logits_of(a)), 1e-5);
}

TEST(Upcycle, TheReportModelsAStepBeforeAndAfter) {
  const TempDir temp;
  ToyRun dense(dense_toy_config());
  const std::string input = save_run(dense, temp.file("dense"));
  const std::string recipe = recipe_yaml(temp, input, "sparse_upcycling", moe_yaml(4, 2, 48, kAfter));
  const auto with = [&](const std::string& key) { return upcycle(recipe_of<UpcycleConfig>(recipe + key)); };
  expect_user_error([&] { with("hardware: " + temp.file("none.yaml")); }, {temp.file("none.yaml")});
  EXPECT_FALSE(std::filesystem::exists(temp.file("moe")));
  const DerivationReport report = with("hardware: " SY_SOURCE_DIR "/configs/hardware/cpu_2_cores.yaml");
  ASSERT_EQ(report.step_seconds.size(), 2u);
  // Two experts of the dense width per token instead of one block.
  EXPECT_GT(report.step_seconds[1], report.step_seconds[0]);
  EXPECT_GT(report.step_seconds[0], 1e-6);
  std::filesystem::remove_all(temp.file("moe"));
  EXPECT_TRUE(with("").step_seconds.empty());
}

TEST(Upcycle, MistakesAreOneLineAndLeaveNothing) {
  const TempDir temp;
  ToyRun dense(dense_toy_config()), wide(dense_toy_config({"model.vocab_size=39"})), moe(toy_config());
  const std::string input = save_run(dense, temp.file("dense")), other = save_run(wide, temp.file("wide")),
                    experts = save_run(moe, temp.file("experts"));
  const auto refused = [&](const std::string& inputs, const std::string& method, const std::string& moe_section,
                           const std::vector<std::string>& fragments) {
    expect_user_error([&] { upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, inputs, method, moe_section))); },
                      fragments);
    EXPECT_FALSE(std::filesystem::exists(temp.file("moe")));
    EXPECT_FALSE(std::filesystem::exists(temp.file(".tmp_moe")));
  };
  const std::string good = moe_yaml(4, 2, 48, kAfter);
  refused(experts, "sparse_upcycling", good, {experts, "MoE", "dense"});
  refused(input + ", " + other, "branch_train_mix", good, {other, input, "vocab_size is '37' there and '39' here"});
  refused(input + ", " + input, "sparse_upcycling", good, {"inputs", "2"});
  refused(input, "sparse_upcycling", moe_yaml(4, 2, 24, kAfter), {"moe.moe_intermediate_size", "48", "24"});
  refused(input, "{type: virtual_groups, granularity: 3}", moe_yaml(8, 3, 16, kAfter), {"moe.num_experts", "3", "8"});
  refused(input, "dynamic_dino", moe_yaml(8, 2, 24, kRaw), {"moe.router", "0.125", "0.5"});
  refused(input, "sparse_upcycling", moe_yaml(4, 2, 48, "{type: hash}"), {"moe"});
  refused(input, "sparse_upcycling", "{num_experts: 0}", {"moe.num_experts"});
  refused("", "sparse_upcycling", good, {"inputs", "empty"});
  refused(input + ", " + input, "branch_train_mix", good + "\nmerge: ties", {"base is missing", "ties"});
  refused(input + ", " + input, "branch_train_mix", good + "\nbase: " + input, {"base", "no effect", "average"});
  refused(input + ", " + input, "branch_train_mix", good + "\nmerge: {type: average, weights: [1]}",
          {"merge.weights", "1", "2"});
  refused(input, "sparse_upcycling", good + "\nmerge: average", {"merge", "several inputs"});
  refused(input, "sparse_upcycling", good + "\nsample_data_path: [some/text]", {"sample_data_path", "no effect"});
  refused(input, "moefication", moe_yaml(4, 2, 12, kAfter), {"sample_data_path is missing", "moefication"});
  refused(input, "{type: llama_moe, split: gradient}", moe_yaml(4, 2, 12, kAfter) + "\nsample_data_path: [a, b]",
          {"sample_data_path", "2", "4"});
  std::filesystem::create_directory(temp.file("moe"));
  expect_user_error([&] { upcycle(recipe_of<UpcycleConfig>(recipe_yaml(temp, input, "sparse_upcycling", good))); },
                    {"moe", "exists already"});
}

}  // namespace
}  // namespace sy::testing
