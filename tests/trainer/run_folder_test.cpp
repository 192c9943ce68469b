#include "trainer/run_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/csrc/io/io_testing.h"

namespace fs = std::filesystem;

namespace sy {
namespace {

using testing::expect_user_error;
using testing::read_bytes;
using testing::TempDir;
using testing::write_bytes;

const char* const kConfig =
    "model:\n  hidden_size: 64\n  rope: {theta: 10000.0}\nmoe:\n  banks: [1, 2]\ntrain:\n  train_iters: 100\n"
    "logging:\n  interval: 10\n";
const std::vector<std::string> kChangeable = {"train.train_iters", "logging"};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

// An earlier start of the run.
void start(const std::string& folder) { RunFolder(folder, kConfig, kChangeable).store_config(); }

TEST(RunFolder, ANewFolderGetsTheConfigAndParents) {
  const TempDir dir;
  RunFolder run(dir.file("a/b"), kConfig, kChangeable);
  run.store_config();
  EXPECT_FALSE(run.is_resuming());
  EXPECT_EQ(read_bytes(dir.file("a/b/config.yaml")), kConfig);
  EXPECT_EQ(run.checkpoints(), dir.file("a/b/checkpoints"));
  EXPECT_EQ(default_run_folder("configs/runs/quickstart.yaml"), "runs/quickstart");
}

TEST(RunFolder, TheSameConfigResumesAndAllowedChangesAreStored) {
  const TempDir dir;
  start(dir.file("r"));
  write_bytes(dir.file("r/metrics.jsonl"), "kept");
  {
    const RunFolder run(dir.file("r"), kConfig, kChangeable);
    EXPECT_TRUE(run.is_resuming());
  }
  const std::string longer =
      replaced(replaced(kConfig, "train_iters: 100", "train_iters: 200"), "interval: 10", "other: x");
  RunFolder run(dir.file("r"), longer, kChangeable);
  EXPECT_TRUE(run.is_resuming());
  EXPECT_EQ(read_bytes(dir.file("r/config.yaml")), kConfig);  // the start may still fail
  run.store_config();
  EXPECT_EQ(read_bytes(dir.file("r/config.yaml")), longer);
  EXPECT_EQ(read_bytes(dir.file("r/metrics.jsonl")), "kept");
}

TEST(RunFolder, AnotherConfigIsRefusedWithItsFirstDifference) {
  const TempDir dir;
  start(dir.file("r"));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {replaced(kConfig, "hidden_size: 64", "hidden_size: 128"), "model.hidden_size is '64' there and '128' here"},
      {replaced(kConfig, "theta: 10000.0", "theta: 1.0"), "model.rope.theta is '10000.0' there and '1.0' here"},
      {replaced(kConfig, "[1, 2]", "[1, 3]"), "moe.banks.1 is '2' there and '3' here"},
      {replaced(kConfig, "[1, 2]", "[1]"), "moe.banks.1 is '2' there and absent here"},
      {replaced(kConfig, "  train_iters", "  train_iters_more: 1\n  train_iters"),
       "train.train_iters_more is absent there"},
  };
  for (const auto& [config, difference] : cases) {
    const std::string before = read_bytes(dir.file("r/config.yaml"));
    expect_user_error([&] { RunFolder(dir.file("r"), config, kChangeable); },
                      {dir.file("r"), "another configuration", difference});
    EXPECT_EQ(read_bytes(dir.file("r/config.yaml")), before);
  }
  // Order and layout of the YAML do not matter.
  EXPECT_EQ(first_config_difference("a: 1\nb: {c: 2}\n", "b:\n  c: 2\na: 1\n", {}), "");
}

TEST(RunFolder, ForeignFoldersAreLeftAlone) {
  const TempDir dir;
  fs::create_directory(dir.file("thesis"));
  write_bytes(dir.file("thesis/chapter1.tex"), "x");
  expect_user_error([&] { RunFolder(dir.file("thesis"), kConfig, {}); },
                    {"thesis", "not a run folder", "chapter1.tex"});
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.file("thesis")), {}), 1);
  expect_user_error([&] { RunFolder(dir.file("thesis/chapter1.tex"), kConfig, {}); }, {"chapter1.tex' is a file"});
  fs::create_directory(dir.file("broken"));
  write_bytes(dir.file("broken/config.yaml"), "a: [1\n");
  expect_user_error([&] { RunFolder(dir.file("broken"), kConfig, {}); }, {"broken/config.yaml", "YAML"});
  fs::create_directory(dir.file("empty"));
  EXPECT_FALSE(RunFolder(dir.file("empty"), kConfig, {}).is_resuming());
}

TEST(RunFolder, AnInterruptedStartIsStartedAgain) {
  const TempDir dir;
  fs::create_directory(dir.file("r"));
  write_bytes(dir.file("r/.lock"), "");
  write_bytes(dir.file("r/.tmp_config.yaml"), "mod");
  RunFolder run(dir.file("r"), kConfig, {});
  EXPECT_FALSE(run.is_resuming());
  run.store_config();
  EXPECT_EQ(read_bytes(dir.file("r/config.yaml")), kConfig);
}

TEST(RunFolder, TwoRunsCannotShareAFolder) {
  const TempDir dir;
  {
    RunFolder first(dir.file("r"), kConfig, {});
    first.store_config();
    expect_user_error([&] { RunFolder(dir.file("r"), kConfig, {}); }, {"another process", dir.file("r")});
  }
  EXPECT_TRUE(RunFolder(dir.file("r"), kConfig, {}).is_resuming());
}

}  // namespace
}  // namespace sy
