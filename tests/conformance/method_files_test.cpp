// Registry, configs/methods and docs/methods.md name the same methods; every file parses, prints and is strict.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/conformance/method_cases.h"
#include "trainer/dry_run.h"

namespace sy::test {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

TEST(MethodFiles, EveryRegisteredNameHasAFileAndEveryFileARegisteredName) {
  std::set<std::string> registered, files;
  for (const Seam& seam : seams())
    for (const std::string& name : seam.registered)
      EXPECT_TRUE(registered.insert(name).second) << "two seams register '" << name << "': their files would collide";
  for (const MethodCase& file : method_files()) files.insert(file.method);
  EXPECT_EQ(registered, files);
}

TEST(MethodFiles, EveryVariantBelongsToAFile) {
  std::set<std::string> files, labels;
  for (const MethodCase& file : method_files()) files.insert(file.method);
  for (const MethodCase& c : method_cases()) {
    EXPECT_TRUE(files.contains(c.method)) << c.label();
    EXPECT_TRUE(labels.insert(c.label()).second) << c.label() << " stands twice";
  }
}

TEST(MethodFiles, EachFileSelectsTheMethodItIsNamedAfter) {
  for (const MethodCase& file : method_files()) {
    const moe::MoeChoices choices = file.config().moe.methods;
    for (const Seam& seam : seams()) {
      if (!contains(seam.registered, file.method)) continue;
      EXPECT_TRUE(contains(seam.selected(choices), file.method)) << file.path() << " has it nowhere in " << seam.key;
    }
  }
}

TEST(MethodFiles, EachFileOpensWithTwoLinesThatSayWhatItShows) {
  for (const MethodCase& file : method_files()) {
    std::istringstream text(text_of(file.path()));
    std::string line;
    for (int i = 0; i < 2; ++i) {
      std::getline(text, line);
      EXPECT_TRUE(line.starts_with("# ") && line.ends_with(".")) << file.path() << ": " << line;
    }
    std::getline(text, line);
    EXPECT_EQ(line, "model:") << file.path();
  }
}

TEST(MethodFiles, PrintedConfigsReadBackEqual) {
  for (const MethodCase& c : method_cases()) {
    const std::string printed = print_config(c.config());
    EXPECT_EQ(print_config(parse_config(printed, "printed.yaml", {})), printed) << c.label();
  }
}

TEST(MethodFiles, AnUnknownKeyOfTheMethodIsAnErrorThatNamesItsLine) {
  for (const MethodCase& file : method_files()) {
    std::string text = text_of(file.path());
    const std::string type = "{type: " + file.method;
    const std::size_t at = text.find(type);
    ASSERT_NE(at, std::string::npos) << file.path() << " does not write " << type << "...}";
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    text.insert(at + type.size(), ", no_such_key: 1");
    try {
      parse_config(text, "x.yaml", {});
      ADD_FAILURE() << file.method << " takes any key";
    } catch (const UserError& e) {
      const std::string message = e.what();
      EXPECT_TRUE(message.starts_with("x.yaml:" + std::to_string(line) + ":")) << message;
      EXPECT_NE(message.find("no_such_key"), std::string::npos) << message;
    }
  }
}

TEST(MethodFiles, EveryFileTrainsInSeconds) {
  for (const MethodCase& file : method_files()) {
    const Config config = file.config();
    const DryRun dry = dry_run(config);
    const double flops =
        dry.model.training_flops_per_token *
        static_cast<double>(config.train.train_iters * config.train.global_batch_size * config.train.seq_length);
    EXPECT_LT(flops, 1e11) << file.path() << " would take minutes";
    EXPECT_GT(dry.moe_layers, 0) << file.path();
  }
}

// A row of docs/methods.md: | `name` | paper | what it does | `configs/methods/name.yaml` |
TEST(MethodFiles, TheDocumentedTableIsTheRegistry) {
  std::istringstream page(text_of(std::string(SY_SOURCE_DIR) + "/docs/methods.md"));
  std::string line, seam_key;
  std::map<std::string, std::set<std::string>> rows;
  while (std::getline(page, line)) {
    if (line.starts_with("## ")) {
      const std::size_t open = line.find('`'), close = line.rfind('`');
      seam_key = open == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
    }
    if (!line.starts_with("| `")) continue;
    const std::string name = line.substr(3, line.find('`', 3) - 3);
    EXPECT_TRUE(rows[seam_key].insert(name).second) << name << " has two rows";
    EXPECT_EQ(std::count(line.begin(), line.end(), '|'), 5) << line;
    EXPECT_NE(line.find("[" + name + ".yaml](../configs/methods/" + name + ".yaml)"), std::string::npos) << line;
  }
  for (const Seam& seam : seams())
    EXPECT_EQ(rows[seam.key], std::set<std::string>(seam.registered.begin(), seam.registered.end())) << seam.key;
  EXPECT_EQ(rows.size(), seams().size());
}

}  // namespace
}  // namespace sy::test
