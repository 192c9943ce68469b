#include "csrc/io/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "tests/csrc/io/io_testing.h"

namespace sy {
namespace {

using testing::read_bytes;
using testing::TempDir;

// An independent decoder of the protobuf wire format: field number -> raw values in order.
using Fields = std::map<uint64_t, std::vector<std::string>>;

uint64_t take_varint(const std::string& bytes, size_t& position) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.at(position++));
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

Fields decode(const std::string& bytes) {
  Fields fields;
  for (size_t position = 0; position < bytes.size();) {
    const uint64_t tag = take_varint(bytes, position);
    const size_t begin = position;
    size_t length = 0;
    switch (tag & 7) {
      case 0:
        take_varint(bytes, position);
        length = position - begin;
        break;
      case 1:
        length = 8;
        break;
      case 5:
        length = 4;
        break;
      case 2:
        length = take_varint(bytes, position);
        break;
      default:
        ADD_FAILURE() << "wire type " << (tag & 7);
    }
    const size_t value_begin = (tag & 7) == 0 ? begin : position;
    fields[tag >> 3].push_back(bytes.substr(value_begin, length));
    position = value_begin + length;
    EXPECT_LE(position, bytes.size());
  }
  return fields;
}

template <class T>
T as(const std::string& bytes) {
  T value;
  EXPECT_EQ(bytes.size(), sizeof(T));
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

uint64_t varint_of(const std::string& bytes) {
  size_t position = 0;
  return take_varint(bytes, position);
}

std::vector<Fields> read_events(const std::string& path) {
  const std::string bytes = read_bytes(path);
  std::vector<Fields> events;
  for (size_t position = 0; position < bytes.size();) {
    const std::string length_bytes = bytes.substr(position, 8);
    const auto length = as<uint64_t>(length_bytes);
    EXPECT_EQ(as<uint32_t>(bytes.substr(position + 8, 4)), masked_crc32c(length_bytes));
    const std::string data = bytes.substr(position + 12, length);
    EXPECT_EQ(as<uint32_t>(bytes.substr(position + 12 + length, 4)), masked_crc32c(data));
    events.push_back(decode(data));
    position += 16 + length;
  }
  return events;
}

// The vectors of RFC 3720, appendix B.4, and the mask's definition.
TEST(TensorBoard, Crc32cMatchesThePublishedVectors) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending.push_back(c);
  EXPECT_EQ(crc32c(ascending), 0x46DD794Eu);
  const uint32_t crc = 0xE3069283u;
  EXPECT_EQ(masked_crc32c("123456789"), ((crc >> 15) | (crc << 17)) + 0xA282EAD8u);
}

TEST(TensorBoard, ScalarsAndTextsReadBack) {
  const TempDir dir;
  EventWriter writer(dir.file("tb"));
  writer.scalar("loss", 2.5, 0);
  writer.scalar("moe/max_vio", -1e-3, int64_t{1} << 40);
  const std::string config(300, 'c');
  writer.text("config", config, 7);
  EXPECT_NE(writer.path().find("events.out.tfevents."), std::string::npos);

  auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0][3].at(0), "brain.Event:2");
  EXPECT_GT(as<double>(events[0][1].at(0)), 1.6e9);
  const auto value_of = [&](size_t i) { return decode(decode(events[i][5].at(0))[1].at(0)); };
  EXPECT_EQ(varint_of(events[1][2].at(0)), 0u);
  EXPECT_EQ(value_of(1)[1].at(0), "loss");
  EXPECT_EQ(as<float>(value_of(1)[2].at(0)), 2.5f);
  EXPECT_EQ(varint_of(events[2][2].at(0)), uint64_t{1} << 40);
  EXPECT_EQ(as<float>(value_of(2)[2].at(0)), -1e-3f);
  Fields tensor = decode(value_of(3)[8].at(0));
  EXPECT_EQ(varint_of(tensor[1].at(0)), 7u);
  EXPECT_EQ(tensor[8].at(0), config);
  EXPECT_EQ(decode(decode(value_of(3)[9].at(0))[1].at(0))[1].at(0), "text");
}

TEST(TensorBoard, AResumedRunMarksTheStepsThatItWritesAgain) {
  const TempDir dir;
  EventWriter first(dir.file("tb"));
  EventWriter resumed(dir.file("tb"), 100);
  EXPECT_NE(first.path(), resumed.path());
  EXPECT_EQ(read_events(first.path()).size(), 1u);
  auto events = read_events(resumed.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(varint_of(events[1][2].at(0)), 101u);
  EXPECT_EQ(varint_of(decode(events[1][7].at(0))[1].at(0)), 1u);  // SessionLog START
}

}  // namespace
}  // namespace sy
