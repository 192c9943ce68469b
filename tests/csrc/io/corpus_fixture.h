// A scratch folder per test, removed afterwards, and small corpora in it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "csrc/core/check.h"
#include "csrc/io/indexed_dataset.h"

namespace sy {

class CorpusTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              (std::string("sy_") + info->test_suite_name() + "_" + info->name() + "_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::string write_file(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }
  static std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream content;
    content << in.rdbuf();
    return content.str();
  }
  // One sequence per document; returns the prefix.
  std::string write_corpus(const std::string& name, const std::vector<std::vector<int32_t>>& documents,
                           TokenDtype dtype = TokenDtype::kUint16) const {
    IndexedDatasetBuilder builder(path(name), dtype);
    for (const auto& document : documents) {
      builder.add_tokens(document);
      builder.end_sequence();
      builder.end_document();
    }
    builder.finish();
    return path(name);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path folder_;
};

// Runs `action`, which must throw UserError, and returns its message; every piece must be one line.
template <class Action>
std::string user_error_of(Action action) {
  try {
    action();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no UserError was thrown";
  return "";
}

#define EXPECT_MENTIONS(message, piece) \
  EXPECT_NE((message).find(piece), std::string::npos) << "message: " << (message) << "\nlacks: " << (piece)

}  // namespace sy
