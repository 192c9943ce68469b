// The configuration of a run: every check with its exact line, aliases, printing, and the committed reference.
#include "trainer/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "csrc/io/key_aliases.h"
#include "csrc/io/list_fields.h"

namespace sy {
namespace {

// Small but complete; the line numbers are used below.
const char* kText =
    "model:\n"                       // 1
    "  vocab_size: 257\n"            // 2
    "  hidden_size: 64\n"            // 3
    "  num_hidden_layers: 4\n"       // 4
    "  num_attention_heads: 4\n"     // 5
    "  num_key_value_heads: 2\n"     // 6
    "  intermediate_size: 128\n"     // 7
    "moe:\n"                         // 8
    "  num_experts: 8\n"             // 9
    "  num_experts_per_tok: 2\n"     // 10
    "  moe_intermediate_size: 32\n"  // 11
    "  first_k_dense_replace: 1\n"   // 12
    "train:\n"                       // 13
    "  train_iters: 100\n"           // 14
    "  micro_batch_size: 2\n"        // 15
    "  global_batch_size: 8\n"       // 16
    "  seq_length: 256\n"            // 17
    "optimizer:\n"                   // 18
    "  lr: 1e-3\n"                   // 19
    "  lr_warmup_iters: 10\n";       // 20

Config parse(const std::vector<std::string>& overrides = {}, int64_t num_ranks = 1) {
  return parse_config(kText, "configs/x.yaml", overrides, num_ranks);
}

std::string error(const std::vector<std::string>& overrides, int64_t num_ranks = 1, const std::string& text = kText) {
  try {
    parse_config(text, "configs/x.yaml", overrides, num_ranks);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Config, ReadsAFileAndFillsInTheRunFolder) {
  const std::string path = testing::TempDir() + "tiny_moe.yaml";
  std::ofstream(path) << kText;
  const Config config = load_config(path, {"train.seed=7"});
  EXPECT_EQ(config.model.hidden_size, 64);
  EXPECT_EQ(config.model.head_size(), 16);
  EXPECT_EQ(config.model.padded_vocab_size(), 384);
  EXPECT_EQ(config.train.seed, 7);
  EXPECT_EQ(config.logging.run_dir, "runs/tiny_moe");
  EXPECT_EQ(load_config(path, {"logging.run_dir=elsewhere/x"}).logging.run_dir, "elsewhere/x");
}

TEST(Config, PrintedTextReadsBackEqual) {
  const std::vector<std::vector<std::string>> variants = {
      {},
      {"model.rope_scaling={type: llama3, factor: 8}", "model.tie_word_embeddings=true", "model.rms_norm_eps=1e-6"},
      {"model.rope_scaling={type: linear, factor: 2.5}", "train.dtype=bf16", "train.recompute=full"},
      {"moe=null", "optimizer.lr_decay_style=constant", "optimizer.weight_decay=0"},
      {"moe.num_experts=null", "moe.first_k_dense_replace=null", "moe.num_experts_per_layer=[0, 4, 0, 8]"},
      {"moe.expert_intermediate_sizes=[8, 8, 8, 8, 16, 16, 16, 16]", "moe.moe_intermediate_size=null"},
      {"optimizer.lr_decay_style=WSD", "optimizer.lr_wsd_decay_iters=20", "optimizer.lr_wsd_decay_style=minus_sqrt",
       "optimizer.lr=0.00030000000000000003"},
      {"data.data_path=[0.7, corpora/a, 0.3, \"corpora/b c\"]", "data.split=\"8,1,1\"", "data.seed=3"},
      {"checkpoint.load=runs/old one/checkpoints/100", "device.threads=2", "train.eval_iters=0"},
  };
  for (const std::vector<std::string>& overrides : variants) {
    const Config config = parse(overrides);
    const std::string text = print_config(config);
    const Config again = parse_config(text, "printed.yaml", {});
    EXPECT_EQ(print_config(again), text);
    // Printing could round and still agree with itself, so the sections are also compared value by value.
    EXPECT_TRUE(again.model == config.model && again.data == config.data && again.train == config.train) << text;
    EXPECT_TRUE(again.optimizer == config.optimizer && again.parallel == config.parallel) << text;
    EXPECT_TRUE(again.checkpoint == config.checkpoint && again.logging == config.logging) << text;
    EXPECT_TRUE(again.device == config.device) << text;
    EXPECT_EQ(again.moe.num_experts_per_layer, config.moe.num_experts_per_layer) << text;
    EXPECT_EQ(again.moe.expert_intermediate_sizes, config.moe.expert_intermediate_sizes) << text;
  }
}

TEST(Config, MethodsOfADenseModelAreRefused) {
  const std::vector<std::string> dense = {"moe=null", "model.intermediate_size=128"};
  for (const char* slot :
       {"moe.router={type: hash}", "moe.balance=[{type: z_loss}]", "moe.allow_batch_dependent_routing=true"}) {
    std::vector<std::string> overrides = dense;
    overrides.emplace_back(slot);
    EXPECT_NE(error(overrides).find("has an effect only when there are experts"), std::string::npos)
        << error(overrides);
  }
}

TEST(Config, PrintedTextHoldsEveryKeyThatHasAnEffect) {
  const std::string text = print_config(parse());
  for (const char* line :
       {"  rope_theta: 10000.0\n", "  rope_scaling:\n    type: none\n  max_position", "  dtype: f32\n",
        "  adam_eps: 1e-08\n", "  load: auto\n", "  run_dir: runs/x\n", "  type: cpu\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "is not in\n" << text;
  }
  EXPECT_EQ(text.find("lr_wsd_decay_iters"), std::string::npos);
}

struct Mistake {
  std::vector<std::string> overrides;
  std::string message;
  int64_t num_ranks = 1;
};

TEST(Config, EveryCheckHasItsLine) {
  const std::vector<Mistake> mistakes = {
      {{"model.num_attention_heads=6", "model.num_key_value_heads=null"},
       "configs/x.yaml:3: model.hidden_size: 64 is not a multiple of num_attention_heads 6; change one of them or set "
       "head_dim"},
      {{"model.num_attention_heads=64"},
       "override 'model.num_attention_heads=64': model.num_attention_heads: heads of width 1 cannot be rotated in "
       "pairs; "
       "the width of a head must be even"},
      {{"model.head_dim=15"},
       "override 'model.head_dim=15': model.head_dim: heads of width 15 cannot be rotated in pairs; the width of a "
       "head "
       "must be even"},
      {{"model.num_key_value_heads=3"},
       "override 'model.num_key_value_heads=3': model.num_key_value_heads: 3 does not divide num_attention_heads 4"},
      {{"model.rope_scaling.factor=2"},
       "override 'model.rope_scaling.factor=2': model.rope_scaling.factor has an effect only when type is linear or "
       "llama3; remove it (as an override: model.rope_scaling.factor=null)"},
      {{"model.rope_scaling={type: llama3, factor: 8, low_freq_factor: 4}"},
       "override 'model.rope_scaling={type: llama3, factor: 8, low_freq_factor: 4}': "
       "model.rope_scaling.high_freq_factor: "
       "4 must be greater than low_freq_factor 4"},
      {{"model.rope_scaling.type=yarn"},
       "override 'model.rope_scaling.type=yarn': model.rope_scaling.type is 'yarn', but must be one of none, linear, "
       "llama3"},
      {{"model.intermediate_size=null"},
       "configs/x.yaml:1: model.intermediate_size: is missing; 1 of the 4 layers are dense and need a width"},
      {{"moe.first_k_dense_replace=null"},
       "configs/x.yaml:7: model.intermediate_size: has no effect, since every layer is MoE; remove it (routed experts "
       "have "
       "moe.moe_intermediate_size)"},
      {{"moe.num_experts_per_tok=9"},
       "override 'moe.num_experts_per_tok=9': moe.num_experts_per_tok: 9 is more than num_experts 8"},
      {{"moe.num_experts=1"}, "configs/x.yaml:10: moe.num_experts_per_tok: 2 is more than num_experts 1"},
      {{"moe.moe_intermediate_size=null"},
       "configs/x.yaml:8: moe.moe_intermediate_size: is missing; experts need a width"},
      {{"moe.first_k_dense_replace=4"},
       "override 'moe.first_k_dense_replace=4': moe.first_k_dense_replace: leaves no MoE layer among the 4 layers"},
      {{"moe.num_experts=0"},
       "configs/x.yaml:12: moe.first_k_dense_replace has an effect only when num_experts is not 0; remove it (as an "
       "override: moe.first_k_dense_replace=null)"},
      {{"moe.num_experts_per_layer=[0, 8, 8, 8]"},
       "configs/x.yaml:9: moe.num_experts has an effect only when num_experts_per_layer is empty; remove it (as an "
       "override: moe.num_experts=null)"},
      {{"moe.num_experts=null", "moe.first_k_dense_replace=null", "moe.num_experts_per_layer=[0, 8]"},
       "override 'moe.num_experts_per_layer=[0, 8]': moe.num_experts_per_layer: has 2 counts for "
       "model.num_hidden_layers "
       "4; give one per layer"},
      {{"moe.num_experts=null", "moe.first_k_dense_replace=null", "moe.num_experts_per_layer=[0, 8, 1, 0]"},
       "configs/x.yaml:10: moe.num_experts_per_tok: 2 is more than the 1 experts of a layer in num_experts_per_layer"},
      {{"moe.num_experts=null", "moe.first_k_dense_replace=null", "moe.num_experts_per_layer=[0, 0, 0, 0]"},
       "override 'moe.num_experts_per_layer=[0, 0, 0, 0]': moe.num_experts_per_layer: leaves no MoE layer among the 4 "
       "layers"},
      {{"moe.moe_intermediate_size=null", "moe.expert_intermediate_sizes=[8, 8]"},
       "override 'moe.expert_intermediate_sizes=[8, 8]': moe.expert_intermediate_sizes: has 2 widths for num_experts "
       "8; "
       "give one per expert"},
      {{"train.global_batch_size=7"},
       "override 'train.global_batch_size=7': train.global_batch_size: 7 is not a multiple of micro_batch_size 2"},
      {{},
       "configs/x.yaml:16: train.global_batch_size: 8 is not a multiple of micro_batch_size 2 x 3 data-parallel ranks; "
       "12 "
       "is",
       3},
      {{"train.seq_length=8192"},
       "override 'train.seq_length=8192': train.seq_length: 8192 is longer than model.max_position_embeddings 4096"},
      {{"train.eval_iters=0", "train.eval_interval=5"},
       "override 'train.eval_interval=5': train.eval_interval has an effect only when eval_iters is not 0; remove it "
       "(as "
       "an override: train.eval_interval=null)"},
      {{"train.dtype=f64", "device.type=cuda"},
       "override 'train.dtype=f64': train.dtype: f64 runs on the CPU only; set device.type: cpu"},
      {{"comm.backend=nccl"},
       "override 'comm.backend=nccl': comm.backend: nccl carries GPU memory only; set device.type: cuda"},
      {{"train.dtype=fp16"},
       "override 'train.dtype=fp16': train.dtype is 'fp16', but must be one of f32, bf16, f64; did "
       "you mean 'bf16'?"},
      {{"optimizer.min_lr=0.01"}, "override 'optimizer.min_lr=0.01': optimizer.min_lr: 0.01 is above lr 0.001"},
      {{"optimizer.lr_warmup_iters=100"},
       "override 'optimizer.lr_warmup_iters=100': optimizer.lr_warmup_iters: 100 leaves no step for the decay, which "
       "ends "
       "at train.train_iters 100"},
      {{"optimizer.lr_decay_iters=10"},
       "configs/x.yaml:20: optimizer.lr_warmup_iters: 10 leaves no step for the decay, which ends at lr_decay_iters "
       "10"},
      {{"optimizer.lr_decay_style=WSD"},
       "configs/x.yaml:18: optimizer.lr_wsd_decay_iters is missing; it has no default (steps of the final decay of "
       "WSD)"},
      {{"optimizer.lr_decay_style=WSD", "optimizer.lr_wsd_decay_iters=91"},
       "override 'optimizer.lr_wsd_decay_iters=91': optimizer.lr_wsd_decay_iters: 91 and lr_warmup_iters 10 are "
       "together "
       "more than train.train_iters 100"},
      {{"optimizer.lr_wsd_decay_iters=9"},
       "override 'optimizer.lr_wsd_decay_iters=9': optimizer.lr_wsd_decay_iters has an effect only when lr_decay_style "
       "is "
       "WSD; remove it (as an override: optimizer.lr_wsd_decay_iters=null)"},
      {{"optimizer.lr=-1"}, "override 'optimizer.lr=-1': optimizer.lr is -1, but must be greater than 0"},
      {{"parallel.expert_model_parallel_size=2"},
       "override 'parallel.expert_model_parallel_size=2': parallel.expert_model_parallel_size: 2 x "
       "expert_tensor_parallel_size 1 needs a multiple of 2 ranks, there is 1: ranks = expert data x expert x expert "
       "tensor"},
      {{"parallel.tensor_model_parallel_size=4"},
       "override 'parallel.tensor_model_parallel_size=4': parallel.tensor_model_parallel_size: 4 needs a multiple of 4 "
       "ranks, there are 2: ranks = data x tensor",
       2},
      {{"parallel.tensor_model_parallel_size=3"},
       "override 'parallel.tensor_model_parallel_size=3': parallel.tensor_model_parallel_size: num_attention_heads 4 "
       "cannot be divided among 3 tensor-parallel ranks",
       3},
      {{"parallel.expert_model_parallel_size=3"},
       "override 'parallel.expert_model_parallel_size=3': parallel.expert_model_parallel_size: num_experts 8 cannot be "
       "divided among 3 expert-parallel ranks",
       3},
      {{"parallel.expert_model_parallel_size=2", "parallel.expert_tensor_parallel_size=3"},
       "override 'parallel.expert_tensor_parallel_size=3': parallel.expert_tensor_parallel_size: expert width 32 "
       "cannot be divided among 3 expert-tensor-parallel ranks",
       6},
      {{"parallel.context_parallel_size=2"},
       "override 'parallel.context_parallel_size=2': parallel.context_parallel_size: 2 is not supported by this "
       "version, only 1"},
      {{"checkpoint.load=\"\""},
       "override 'checkpoint.load=\"\"': checkpoint.load: is empty; write auto, none or the folder of a checkpoint"},
      {{"data.data_path=corpora/a"},
       "override 'data.data_path=corpora/a': data.data_path is 'corpora/a', but must be a list of texts, as [a, b]"},
      {{"data.data_path=[a]", "data.train_data_path=[b]"},
       "override 'data.data_path=[a]': data.data_path: data_path is cut by split; give either data_path or "
       "train_data_path, valid_data_path and test_data_path"},
      {{"trian.seed=1"}, "override 'trian.seed=1': unknown key 'trian' at the top level; did you mean 'train'?"},
      {{"train.lr=1"}, "override 'train.lr=1': unknown key 'lr' in section 'train'; it belongs to 'optimizer.lr'"},
      {{"moe.num_expert=1"},
       "override 'moe.num_expert=1': unknown key 'num_expert' in section 'moe'; did you mean "
       "'num_experts'?"},
      {{"moe.n_routed_experts=1"},
       "override 'moe.n_routed_experts=1': unknown key 'n_routed_experts' in section 'moe'; it is DeepSeek's name, "
       "write "
       "'moe.num_experts' here"},
      {{"moe.n_shared_experts=2"},
       "override 'moe.n_shared_experts=2': unknown key 'n_shared_experts' in section 'moe'; it is DeepSeek's name, "
       "write "
       "'moe.shared_expert_intermediate_size' here (their count times moe_intermediate_size, since shared experts are "
       "one "
       "wide expert)"},
      {{"model.vocab_size=null"},
       "configs/x.yaml:1: model.vocab_size is missing; it has no default (token ids, without padding (bytes need 257 "
       "with "
       "the end-of-document token))"},
  };
  for (const Mistake& mistake : mistakes) EXPECT_EQ(error(mistake.overrides, mistake.num_ranks), mistake.message);
}

TEST(Config, AnEmptyFileNamesTheFirstMissingKey) {
  EXPECT_EQ(error({}, 1, "").substr(0, 65), "configs/x.yaml: model.vocab_size is missing; it has no default (t");
}

TEST(Config, EveryRankCountThatDividesTheBatchIsAccepted) {
  for (const int64_t num_ranks : {1, 2, 4}) EXPECT_EQ(error({}, num_ranks), "no error");
}

TEST(Config, SizesThatWouldOverflowAreRefused) {
  EXPECT_EQ(
      error({"model.vocab_size=9223372036854775807"}),
      "override 'model.vocab_size=9223372036854775807': model.vocab_size is 9223372036854775807, but must be at least "
      "1 and at most 2147483647");
  EXPECT_EQ(
      error({"train.micro_batch_size=1e15"}),
      "override 'train.micro_batch_size=1e15': train.micro_batch_size is 1e15, but must be at least 1 and at most "
      "1073741824");
}

// Damaged text either still reads or gives a UserError of one line; anything else ends this test.
TEST(Config, DamagedTextIsReadOrRefusedInOneLine) {
  uint64_t state = 1;
  const auto random = [&](std::size_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state >> 33) % bound;
  };
  using namespace std::string_literals;
  const std::string alphabet = "abz019:-[]{},.&*!#|>'\"%@ \n\t\r\\?~\xff\0"s;
  int num_refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = kText;
    for (std::size_t edits = 1 + random(4); edits > 0; --edits) {
      const std::size_t at = random(text.size());
      switch (random(4)) {
        case 0:
          text[at] = alphabet[random(alphabet.size())];
          break;
        case 1:
          text.insert(at, 1, alphabet[random(alphabet.size())]);
          break;
        case 2:
          text.erase(at, 1 + random(5));
          break;
        default:
          text.insert(at, text.substr(random(text.size()), random(40)));
          break;
      }
    }
    const std::string message = error({}, 1, text);
    EXPECT_EQ(message.find('\n'), std::string::npos) << message << "\nfor\n" << text;
    num_refused += message == "no error" ? 0 : 1;
  }
  EXPECT_GT(num_refused, 1000);
}

TEST(Config, EveryMessageIsOneLine) {
  for (const char* assignment : {"train.nothing=1", "moe.num_experts=x", "model.rope_scaling.type=1"}) {
    EXPECT_EQ(error({assignment}).find('\n'), std::string::npos);
  }
}

TEST(MoeConfig, LayerPatternFollowsTheKeys) {
  const auto pattern = [](const MoeConfig& moe) {
    std::vector<int64_t> counts;
    for (int64_t layer = 0; layer < 6; ++layer) counts.push_back(moe.num_experts_in_layer(layer));
    return counts;
  };
  EXPECT_EQ(pattern({.num_experts = 8}), (std::vector<int64_t>{8, 8, 8, 8, 8, 8}));
  EXPECT_EQ(pattern({.num_experts = 8, .first_k_dense_replace = 2}), (std::vector<int64_t>{0, 0, 8, 8, 8, 8}));
  EXPECT_EQ(pattern({.num_experts = 8, .moe_layer_freq = 2}), (std::vector<int64_t>{8, 0, 8, 0, 8, 0}));
  EXPECT_EQ(pattern({.num_experts = 8, .first_k_dense_replace = 1, .moe_layer_freq = 2}),
            (std::vector<int64_t>{0, 0, 8, 0, 8, 0}));
  EXPECT_EQ(pattern({}), (std::vector<int64_t>{0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(pattern({.num_experts_per_layer = {0, 4, 0, 8, 2, 0}}), (std::vector<int64_t>{0, 4, 0, 8, 2, 0}));
}

TEST(KeyAliases, EveryAliasNamesAKeyOfOursAndIsNotOne) {
  Config config;
  std::set<std::string> paths, keys;
  for (const FieldInfo& info : list_fields([&](Fields& f) { describe(config, f); })) {
    if (info.kind != FieldInfo::Kind::kField) continue;
    paths.insert(info.path);
    keys.insert(info.key);
  }
  std::set<std::string> seen;
  for (const KeyAlias& alias : key_aliases()) {
    EXPECT_TRUE(paths.contains(alias.ours)) << alias.theirs << " -> " << alias.ours;
    EXPECT_FALSE(keys.contains(alias.theirs)) << alias.theirs << " is a key of ours";
    EXPECT_TRUE(seen.insert(alias.theirs).second) << alias.theirs << " stands twice";
    const std::string section = std::string(alias.ours).substr(0, std::string(alias.ours).find('.'));
    const std::string message = error({section + "." + alias.theirs + "=1"});
    EXPECT_NE(message.find(fmt::format("it is {}'s name, write '{}' here", alias.family, alias.ours)),
              std::string::npos)
        << message;
  }
}

// The example in a note is what the user pastes next.
TEST(KeyAliases, ExamplesForTheMethodsOfMoeCanBePasted) {
  int pasted = 0;
  for (const KeyAlias& alias : key_aliases()) {
    const std::string note = alias.note, ours = alias.ours;
    if (ours.rfind("moe.", 0) != 0) continue;
    for (std::size_t at = note.find("{type: "); at != std::string::npos; at = note.find("{type: ", at + 1)) {
      std::string value = note.substr(at, note.find('}', at) - at + 1);
      const std::size_t number = value.find("...");
      if (number != std::string::npos) value.replace(number, 3, "0.5");
      // An example may stand beside another slot's: "... beside hooks: [{type: ...}]".
      const bool other_slot = at >= 8 && note.compare(at - 8, 7, "hooks: ") == 0;
      std::string slot = other_slot ? "moe.hooks" : ours.substr(0, ours.find('.', 4));
      if (slot == "moe.balance" || slot == "moe.hooks") value = "[" + value + "]";
      EXPECT_EQ(error({slot + "=" + value}), "no error") << alias.theirs;
      ++pasted;
    }
  }
  EXPECT_GT(pasted, 20);
}

TEST(KeyAliases, OneOfOurOwnKeysInTheRightSectionIsNeverAnAlias) { EXPECT_EQ(find_key_alias("num_experts"), nullptr); }

TEST(Config, ScheduleEndsWithTheRunUnlessToldOtherwise) {
  const Config config = parse();
  EXPECT_EQ(make_schedule(config.optimizer, config.train).decay_iters, 100);
  const Config shorter = parse({"optimizer.lr_decay_iters=50"});
  EXPECT_EQ(make_schedule(shorter.optimizer, shorter.train).decay_iters, 50);
  EXPECT_DOUBLE_EQ(learning_rate(make_schedule(config.optimizer, config.train), 4), 5e-4);
}

// SY_UPDATE_REFERENCE=1 writes the file anew.
TEST(ConfigReference, CommittedFileIsTheGeneratedOne) {
  const std::string path = std::string(SY_SOURCE_DIR) + "/docs/reference/config.md";
  const std::string generated = config_reference();
  if (std::getenv("SY_UPDATE_REFERENCE") != nullptr) std::ofstream(path) << generated;
  std::ifstream file(path);
  std::ostringstream committed;
  committed << file.rdbuf();
  EXPECT_TRUE(committed.str() == generated)
      << "docs/reference/config.md is stale; run this test once with SY_UPDATE_REFERENCE=1 and commit the file";
}

}  // namespace
}  // namespace sy
