#include "csrc/io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "tests/csrc/io/io_testing.h"

namespace sy {
namespace {

using testing::expect_user_error;
using testing::read_bytes;
using testing::TempDir;
using testing::write_bytes;

// A file with the given header text and data.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

TEST(Safetensors, EveryDtypeAndShapeRoundTrips) {
  const TempDir dir;
  const std::string path = dir.file("all.safetensors");
  std::vector<std::string> buffers;
  std::vector<NamedTensor> tensors;
  const std::vector<std::vector<int64_t>> shapes = {{}, {3}, {2, 5}, {4, 0, 2}, {1, 2, 3}};
  for (const DType dtype : kDTypes) {
    for (const auto& shape : shapes) {
      std::string buffer(static_cast<size_t>(element_count(shape) * dtype_bytes(dtype)), '\0');
      std::iota(buffer.begin(), buffer.end(), static_cast<char>(buffers.size()));
      buffers.push_back(buffer);
      tensors.push_back({fmt::format("{}.{}", dtype_name(dtype), buffers.size()), {dtype, shape, nullptr}});
    }
  }
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].view.data = buffers[i].data();
  write_safetensors(path, tensors, {{"format", "pt"}, {"quote", "a\"b\n"}});

  const SafetensorsReader reader(path);
  EXPECT_EQ(reader.metadata().at("quote"), "a\"b\n");
  ASSERT_EQ(reader.entries().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorView view = reader.view(tensors[i].name, tensors[i].view.dtype, tensors[i].view.shape);
    EXPECT_EQ(std::string(static_cast<const char*>(view.data), buffers[i].size()), buffers[i]) << tensors[i].name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % static_cast<uintptr_t>(dtype_bytes(view.dtype)), 0u);
  }
}

TEST(Safetensors, NoTensorsMakeAValidFile) {
  const TempDir dir;
  write_safetensors(dir.file("empty"), {});
  EXPECT_TRUE(SafetensorsReader(dir.file("empty")).entries().empty());
}

TEST(Safetensors, StreamedChunksInAnyOrderGiveTheSameFile) {
  const TempDir dir;
  const std::vector<float> a = {1, 2, 3, 4};
  const std::vector<uint8_t> b = {5, 6, 7};
  write_safetensors(dir.file("whole"), {{"a", {DType::f32, {4}, a.data()}}, {"b", {DType::u8, {3}, b.data()}}});
  SafetensorsWriter writer(dir.file("streamed"), {{"a", DType::f32, {4}}, {"b", DType::u8, {3}}});
  writer.write("b", b.data(), 1);
  writer.write("a", a.data(), 8);
  writer.write("b", b.data() + 1, 2);
  EXPECT_THROW(writer.finish(), Error);  // "a" lacks 8 bytes
  writer.write("a", a.data() + 2, 8);
  EXPECT_THROW(writer.write("a", a.data(), 1), Error);
  writer.finish();
  EXPECT_EQ(read_bytes(dir.file("streamed")), read_bytes(dir.file("whole")));
  EXPECT_EQ(static_cast<int64_t>(read_bytes(dir.file("whole")).size()), writer.file_bytes());
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TempDir dir;
  const std::vector<float> values(16, 1.0f);
  write_safetensors(dir.file("whole"), {{"w", {DType::f32, {4, 4}, values.data()}}});
  const std::string bytes = read_bytes(dir.file("whole"));
  for (size_t length = 0; length < bytes.size(); ++length) {
    write_bytes(dir.file("cut"), bytes.substr(0, length));
    expect_user_error([&] { SafetensorsReader reader(dir.file("cut")); }, {dir.file("cut")});
  }
  write_bytes(dir.file("cut"), bytes + "x");
  expect_user_error([&] { SafetensorsReader reader(dir.file("cut")); }, {"1 bytes after the last tensor"});
}

TEST(Safetensors, ForeignAndInconsistentFilesNameTheFault) {
  const TempDir dir;
  const std::string path = dir.file("bad");
  const std::string w = R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"PK\x03\x04 not one of ours, but long enough to look at", "not a safetensors file"},
      {file_of("[1,2]", ""), "not a json object"},
      {file_of("{\"w\":", ""), "not a json object"},
      {file_of(R"({"w":7})", ""), "'w' is malformed"},
      {file_of(R"({"w":{"dtype":"F32","shape":[2]}})", std::string(8, 0)), "'w' is malformed"},
      {file_of(R"({"w":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", std::string(8, 0)), "not whole numbers"},
      {file_of(R"({"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", std::string(8, 0)), "not whole numbers"},
      {file_of(R"({"w":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", std::string(8, 0)), "unknown dtype 'F33'"},
      {file_of(R"({"w":{"dtype":"F32","shape":[-2,-1],"data_offsets":[0,8]}})", std::string(8, 0)), "does not fit"},
      {file_of(R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", std::string(8, 0)), "does not fit"},
      {file_of(R"({"w":{"dtype":"F32","shape":[4611686018427387906,4],"data_offsets":[0,8]}})", std::string(8, 0)),
       "does not fit"},
      {file_of(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", std::string(8, 0)), "does not fit"},
      {file_of("{" + w + R"(,"v":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", std::string(12, 0)),
       "'v' overlaps"},
      {file_of("{" + w + R"(,"v":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})", std::string(20, 0)),
       "'v' leaves a gap"},
      {file_of("{" + w + R"(,"v":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", std::string(12, 0)),
       "truncated: tensor 'v'"},
  };
  for (const auto& [bytes, fault] : cases) {
    write_bytes(path, bytes);
    expect_user_error([&] { SafetensorsReader reader(path); }, {path, fault});
  }
  expect_user_error([&] { SafetensorsReader reader(dir.file("none")); }, {"none", "No such file"});
  expect_user_error([&] { SafetensorsReader reader(dir.path()); }, {"Is a directory"});
}

TEST(Safetensors, MissingTensorsAndWrongTypesAreUserErrors) {
  const TempDir dir;
  const std::string path = dir.file("half");
  write_bytes(path, file_of(R"({"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}} )", std::string(4, 0)));
  const SafetensorsReader half(path);
  EXPECT_EQ(half.find("w")->dtype_text, "F16");
  expect_user_error([&] { half.view("w"); }, {path, "'w'", "F16"});
  expect_user_error([&] { half.view("v"); }, {path, "no tensor 'v'"});
  const float value = 1;
  write_safetensors(path, {{"w", {DType::f32, {1}, &value}}});
  const SafetensorsReader single(path);
  expect_user_error([&] { single.view("w", DType::bf16, {1}); }, {"f32 [1]", "expected bf16 [1]"});
  expect_user_error([&] { single.view("w", DType::f32, {1, 1}); }, {"expected f32 [1, 1]"});
}

TEST(Safetensors, ShapesPastTwoToThe31HaveExactSizes) {
  EXPECT_EQ(element_count({int64_t{1} << 20, int64_t{1} << 14}), int64_t{1} << 34);
  EXPECT_THROW(element_count({int64_t{1} << 40, int64_t{1} << 20}), Error);
}

TEST(DTypeNames, InvertAndRefuseOthers) {
  for (const DType dtype : kDTypes) EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  EXPECT_EQ(dtype_bytes(dtype_of<bf16>()), 2);
  EXPECT_EQ(dtype_bytes(dtype_of<int64_t>()), 8);
  expect_user_error([] { dtype_from_name("float32"); }, {"float32", "f32"});
}

}  // namespace
}  // namespace sy
