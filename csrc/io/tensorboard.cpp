#include "csrc/io/tensorboard.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "csrc/core/check.h"

namespace sy {
namespace {

static_assert(std::endian::native == std::endian::little, "TFRecord and protobuf are little-endian");

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? 0x82F63B78u : 0u);  // reflected polynomial
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// Protobuf wire format: a field is a varint (number << 3 | wire type) and its value.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  while (value >= 0x80) {
    bytes.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

class Message {
 public:
  Message& integer(uint64_t field, int64_t value) { return add(field, kVarint, varint(static_cast<uint64_t>(value))); }
  Message& real64(uint64_t field, double value) { return add(field, kFixed64, raw(value)); }
  Message& real32(uint64_t field, float value) { return add(field, kFixed32, raw(value)); }
  Message& bytes(uint64_t field, std::string_view value) {
    add(field, kLengthDelimited, varint(value.size()));
    encoded_.append(value);
    return *this;
  }
  Message& message(uint64_t field, const Message& value) { return bytes(field, value.encoded_); }
  const std::string& encoded() const { return encoded_; }

 private:
  Message& add(uint64_t field, WireType type, std::string_view value) {
    encoded_ += varint(field << 3 | type);
    encoded_.append(value);
    return *this;
  }
  std::string encoded_;
};

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Message event_at(int64_t step) { return Message().real64(1, unix_seconds()).integer(2, step); }

std::string new_event_path(const std::string& folder) {
  create_directories(folder);
  char host[256] = "localhost";
  ::gethostname(host, sizeof(host) - 1);
  // TensorBoard wants "tfevents" in the name and orders the files of a folder by name, hence the time first.
  static std::atomic<int> serial = 0;
  const std::string name =
      fmt::format("events.out.tfevents.{}.{}.{}.{}", static_cast<int64_t>(unix_seconds()), host, ::getpid(), serial++);
  return (std::filesystem::path(folder) / name).string();
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xFFu] ^ (crc >> 8);
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u; }

EventWriter::EventWriter(const std::string& folder, int64_t resume_step)
    : file_(new_event_path(folder), OutputFile::Mode::kAppend) {
  append_event(Message().real64(1, unix_seconds()).bytes(3, "brain.Event:2").encoded());
  if (resume_step >= 0) {
    const Message session_start = Message().integer(1, 1);  // SessionLog.status = START
    append_event(event_at(resume_step + 1).message(7, session_start).encoded());
  }
}

void EventWriter::scalar(const std::string& tag, double value, int64_t step) {
  const Message entry = Message().bytes(1, tag).real32(2, static_cast<float>(value));
  append_event(event_at(step).message(5, Message().message(1, entry)).encoded());
}

void EventWriter::text(const std::string& tag, std::string_view markdown, int64_t step) {
  // A string tensor of shape [1] marked for the text plugin.
  const Message shape = Message().message(2, Message().integer(1, 1));
  const Message tensor = Message().integer(1, 7).message(2, shape).bytes(8, markdown);  // 7: DT_STRING
  const Message metadata = Message().message(1, Message().bytes(1, "text"));
  const Message entry = Message().bytes(1, tag).message(8, tensor).message(9, metadata);
  append_event(event_at(step).message(5, Message().message(1, entry)).encoded());
}

void EventWriter::append_event(std::string_view event) {
  const std::string length = raw(static_cast<uint64_t>(event.size()));
  std::string record = length + raw(masked_crc32c(length));
  record.append(event);
  record += raw(masked_crc32c(event));
  file_.append(record.data(), static_cast<int64_t>(record.size()));
}

}  // namespace sy
