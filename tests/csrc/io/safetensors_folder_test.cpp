// A folder of shards is read whole or refused: what index and shards say about each other is held against each other.
#include "csrc/io/safetensors_folder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "csrc/io/float16.h"
#include "tests/csrc/io/io_testing.h"

namespace sy::testing {
namespace {

using Json = nlohmann::json;

// Two shards: a and b in the first, c in the second.
class Shards : public ::testing::Test {
 protected:
  Shards() {
    write_safetensors(temp_.file("one.safetensors"), {{"a", view(a_)}, {"b", view(b_)}});
    write_safetensors(temp_.file("two.safetensors"), {{"c", view(c_)}});
    index_ = {{"metadata", {{"total_size", 24}}},
              {"weight_map", {{"a", "one.safetensors"}, {"b", "one.safetensors"}, {"c", "two.safetensors"}}}};
    write_index();
  }
  static TensorView view(const std::vector<float>& values) {
    return {DType::f32, {static_cast<int64_t>(values.size())}, values.data()};
  }
  void write_index() { write_bytes(temp_.file("model.safetensors.index.json"), index_.dump()); }
  void refused(const std::vector<std::string>& fragments) {
    write_index();
    expect_user_error([&] { SafetensorsFolder folder(temp_.path()); }, fragments);
  }

  const std::vector<float> a_ = {1, 2}, b_ = {3}, c_ = {4, 5, 6};
  TempDir temp_;
  Json index_;
};

TEST_F(Shards, AreOneSource) {
  const SafetensorsFolder folder(temp_.path());
  ASSERT_EQ(folder.tensors().size(), 3u);
  std::map<std::string, std::vector<float>> got;
  for (size_t i = 0; i < 3; ++i) {
    auto& values = got[folder.tensors()[i].name];
    values.resize(static_cast<size_t>(element_count(folder.tensors()[i].shape)));
    folder.read(i, values.data());
  }
  EXPECT_EQ(got, (std::map<std::string, std::vector<float>>{{"a", a_}, {"b", b_}, {"c", c_}}));
}

TEST_F(Shards, AnIndexCannotLeadOutOfTheFolder) {
  for (const char* path : {"../one.safetensors", "/etc/one.safetensors", "sub/one.safetensors", "..", "", "one.bin"}) {
    index_["weight_map"]["c"] = path;
    refused({"model.safetensors.index.json", std::string("'") + path + "'", "'c'"});
  }
}

TEST_F(Shards, AnIndexThatContradictsTheShardsIsRefused) {
  const Json right = index_;
  index_["weight_map"]["c"] = "one.safetensors";
  refused({"'c' is not in one.safetensors"});
  index_ = right;
  index_["weight_map"]["d"] = "two.safetensors";
  refused({"'d' is not in two.safetensors"});
  index_ = right;
  index_["weight_map"].erase("b");
  refused({"does not list tensor 'b' of one.safetensors"});
  index_ = right;
  index_["metadata"]["total_size"] = 20;
  refused({"total_size is 20", "24 bytes"});
  index_ = right;
  index_["weight_map"]["c"] = 3;
  refused({"'c'", "3"});
  index_ = {{"metadata", Json::object()}};
  refused({"no weight_map"});
  index_ = right;
  index_["weight_map"]["c"] = "three.safetensors";
  refused({"three.safetensors", "No such file"});
}

TEST_F(Shards, ATensorInTwoShardsIsRefused) {
  write_safetensors(temp_.file("two.safetensors"), {{"b", view(b_)}, {"c", view(c_)}});
  refused({"two.safetensors", "'b' stands in one.safetensors too"});
}

TEST_F(Shards, OneFileBesideAnIndexIsAmbiguous) {
  write_safetensors(temp_.file("model.safetensors"), {{"a", view(a_)}});
  refused({"both model.safetensors and model.safetensors.index.json"});
}

TEST(SafetensorsFolderErrors, AFolderWithoutWeightsAndTypesWeDoNotReadAreNamed) {
  const TempDir temp;
  expect_user_error([&] { SafetensorsFolder folder(temp.path()); }, {temp.path(), "neither"});
  const std::string header = R"({"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  write_bytes(temp.file("model.safetensors"), bytes + header + "xy");
  expect_user_error([&] { SafetensorsFolder folder(temp.path()); }, {"model.safetensors", "'w'", "F8_E4M3"});
}

TEST(SafetensorsFolder, HalfPrecisionIsWidenedExactly) {
  // 1, -2, 65504 (largest), 2^-14 (smallest normal), 2^-24 (smallest), -0, infinity
  const std::vector<uint16_t> halves = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000, 0x7c00};
  const std::vector<float> want = {1, -2, 65504, 0x1p-14f, 0x1p-24f, -0.0f, std::numeric_limits<float>::infinity()};
  const std::string header = R"({"w":{"dtype":"F16","shape":[7],"data_offsets":[0,14]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  const TempDir temp;
  write_bytes(temp.file("model.safetensors"),
              bytes + header + std::string(reinterpret_cast<const char*>(halves.data()), 14));
  const SafetensorsFolder folder(temp.path());
  EXPECT_EQ(folder.tensors().at(0).dtype, DType::f32);
  std::vector<float> got(7);
  folder.read(0, got.data());
  EXPECT_EQ(std::memcmp(got.data(), want.data(), 28), 0);
  EXPECT_TRUE(std::isnan(float_of_f16(0x7e00)));
}

}  // namespace
}  // namespace sy::testing
