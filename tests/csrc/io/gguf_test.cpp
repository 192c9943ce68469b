// GGUF files: values and metadata as the `gguf` package wrote them (scripts/goldens/gguf_golden.py), and files that are
// damaged or hostile, made by changing a small one byte by byte.
#include "csrc/io/gguf.h"

#include <gtest/gtest.h>

#include <cstring>

#include "csrc/io/safetensors.h"
#include "tests/csrc/io/io_testing.h"

namespace sy::testing {
namespace {

const std::string kFolder = SY_SOURCE_DIR "/tests/golden/gguf/";

TEST(Gguf, ValuesOfEveryTypeEqualTheReferencesToTheBit) {
  const GgufFile file(kFolder + "blocks.gguf");
  const SafetensorsReader expected(kFolder + "blocks.safetensors");
  ASSERT_EQ(file.tensors().size(), expected.entries().size());
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const SourceTensor& t = file.tensors()[i];
    EXPECT_EQ(t.dtype, t.name == "BF16" ? DType::bf16 : DType::f32) << t.name;
    const TensorView view = expected.view(t.name, DType::f32, t.shape);
    std::vector<float> values(static_cast<size_t>(element_count(t.shape)));
    read_as(file, i, DType::f32, values.data());
    EXPECT_EQ(std::memcmp(values.data(), view.data, 4 * values.size()), 0) << t.name;
  }
}

TEST(Gguf, MetadataOfEveryType) {
  const GgufFile file(kFolder + "blocks.gguf");
  const nlohmann::json& m = file.metadata();
  EXPECT_EQ(m.at("u8"), 200);
  EXPECT_EQ(m.at("i8"), -100);
  EXPECT_EQ(m.at("u16"), 60000);
  EXPECT_EQ(m.at("i16"), -30000);
  EXPECT_EQ(m.at("u32"), 4000000000);
  EXPECT_EQ(m.at("i32"), -2000000000);
  EXPECT_EQ(m.at("u64").get<uint64_t>(), ~uint64_t{0});
  EXPECT_EQ(m.at("i64").get<int64_t>(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(m.at("f32").get<float>(), 0.1f);
  EXPECT_EQ(m.at("f64").get<double>(), 0.1);
  EXPECT_EQ(m.at("bool"), true);
  EXPECT_EQ(m.at("text"), "W\xC3\xB6rter");
  EXPECT_EQ(m.at("numbers"), nlohmann::json({1, 2, 3}));
  EXPECT_EQ(m.at("texts"), nlohmann::json({"a", "", "bc"}));
}

// A file put together field by field.
class Bytes {
 public:
  template <class T>
  Bytes& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Bytes& text(const std::string& value) {
    number<uint64_t>(value.size());
    bytes_ += value;
    return *this;
  }
  Bytes& header(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
    bytes_ += "GGUF";
    return number(version).number(tensors).number(entries);
  }
  Bytes& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    text(name).number(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) number(dim);
    return number(type).number(offset);
  }
  // Up to a multiple of 32, then so many bytes of data.
  Bytes& data(size_t bytes) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32 + bytes, '\0');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

void open(const std::string& bytes) {
  const TempDir temp;
  write_bytes(temp.file("x.gguf"), bytes);
  const GgufFile file(temp.file("x.gguf"));
}
void refuses(const Bytes& file, std::vector<std::string> fragments) {
  fragments.push_back("x.gguf");
  expect_user_error([&] { open(file.bytes()); }, fragments);
}

constexpr uint64_t kHuge = ~uint64_t{0};

TEST(Gguf, ReadsVersionTwoAndThreeAndTensorsInAnyOrderOfOffsets) {
  for (const uint32_t version : {2u, 3u})
    open(Bytes().header(2, 0, version).tensor("b", {4}, 0, 32).tensor("a", {2, 2}, 0, 0).data(48).bytes());
}

TEST(Gguf, SizesAreGivenWithTheContiguousOneLast) {
  const TempDir temp;
  write_bytes(temp.file("x.gguf"), Bytes().header(1, 0).tensor("a", {2, 3, 4}, 0, 0).data(96).bytes());
  EXPECT_EQ(GgufFile(temp.file("x.gguf")).tensors()[0].shape, (std::vector<int64_t>{4, 3, 2}));
}

TEST(Gguf, RefusesWhatIsNoGgufFile) {
  refuses(Bytes(), {"not a GGUF file"});
  refuses(Bytes().text("PK"), {"not a GGUF file"});
  refuses(Bytes().header(0, 0, 1), {"version 1", "2 and 3"});
  refuses(Bytes().header(0, 0, 3u << 24), {"big-endian"});
}

TEST(Gguf, RefusesEveryTruncation) {
  Bytes file;
  file.header(1, 2).text("list").number<uint32_t>(9).number<uint32_t>(8).number<uint64_t>(2).text("one").text("two");
  file.text("general.alignment").number<uint32_t>(4).number<uint32_t>(32).tensor("a", {32}, 8, 0).data(34);
  open(file.bytes());
  for (size_t bytes = 0; bytes < file.bytes().size(); ++bytes)
    expect_user_error([&] { open(file.bytes().substr(0, bytes)); }, {"x.gguf"});
}

TEST(Gguf, RefusesHugeCountsBeforeTakingMemory) {
  refuses(Bytes().header(kHuge, 0), {"truncated", "tensor 0"});
  refuses(Bytes().header(0, kHuge), {"truncated", "metadata entry 0"});
  refuses(Bytes().header(0, 1).number(kHuge), {"truncated", "metadata entry 0"});
  for (const uint32_t type : {0u, 8u, 9u, 12u})
    refuses(Bytes().header(0, 1).text("k").number<uint32_t>(9).number(type).number(kHuge).data(64), {"truncated", "k"});
  refuses(Bytes().header(1, 0).tensor("a", {kHuge}, 0, 0).data(32), {"'a'", "impossible size"});
  refuses(Bytes().header(1, 0).tensor("a", {1 << 20, 1 << 20, 1 << 20, 16}, 0, 0).data(32), {"'a'", "impossible size"});
  refuses(Bytes().header(1, 0).tensor("a", {1, 1, 1, 1, 1}, 0, 0).data(32), {"'a'", "5 dimensions"});
}

TEST(Gguf, RefusesUnknownTypesByName) {
  refuses(Bytes().header(1, 0).tensor("a", {256}, 13, 0).data(176), {"'a'", "Q5_K", "Q8_0"});
  refuses(Bytes().header(1, 0).tensor("a", {256}, 99, 0).data(176), {"'a'", "number 99"});
  refuses(Bytes().header(0, 1).text("k").number<uint32_t>(13), {"metadata k", "unknown type 13"});
  Bytes deep;
  deep.header(0, 1).text("k").number<uint32_t>(9);
  for (int i = 0; i < 1000; ++i) deep.number<uint32_t>(9).number<uint64_t>(1);
  refuses(deep, {"metadata k", "too deep"});
}

TEST(Gguf, RefusesTensorsThatOverlapLieOutsideOrBreakBlocks) {
  refuses(Bytes().header(2, 0).tensor("a", {16}, 0, 0).tensor("b", {16}, 0, 32).data(96), {"'b'", "overlaps"});
  refuses(Bytes().header(1, 0).tensor("a", {16}, 0, 32).data(64), {"'a'", "64 bytes from byte 32"});
  refuses(Bytes().header(1, 0).tensor("a", {16}, 0, kHuge - 31).data(64), {"'a'", "damaged"});
  refuses(Bytes().header(1, 0).tensor("a", {4}, 0, 4).data(64), {"'a'", "no multiple of 32"});
  refuses(Bytes().header(1, 0).tensor("a", {16, 2}, 8, 0).data(64), {"'a'", "16 elements", "Q8_0"});
  refuses(Bytes().header(2, 0).tensor("a", {4}, 0, 0).tensor("a", {4}, 0, 32).data(64), {"'a'", "twice"});
}

TEST(Gguf, RefusesMetadataThatContradictsItself) {
  refuses(Bytes()
              .header(0, 2)
              .text("k")
              .number<uint32_t>(7)
              .number<uint8_t>(1)
              .text("k")
              .number<uint32_t>(7)
              .number<uint8_t>(0),
          {"metadata k", "twice"});
  for (const uint32_t alignment : {0u, 7u, 1u << 31})
    refuses(Bytes().header(0, 1).text("general.alignment").number<uint32_t>(4).number(alignment),
            {"general.alignment", std::to_string(alignment)});
  refuses(Bytes().header(0, 1).text("general.alignment").number<uint32_t>(8).text("x"), {"general.alignment"});
}

}  // namespace
}  // namespace sy::testing
