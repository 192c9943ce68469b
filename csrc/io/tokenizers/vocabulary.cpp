#include "csrc/io/tokenizers/vocabulary.h"

#include <fmt/format.h>

#include <array>

#include "csrc/io/tokenizers/utf8.h"

namespace sy {
namespace {

// Printable Latin-1 stands for itself; the other bytes, in order, for U+0100 and up.
constexpr std::array<int16_t, 0x144> make_alphabet() {
  std::array<int16_t, 0x144> byte_of{};
  byte_of.fill(-1);
  std::size_t next = 0x100;
  for (int16_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    byte_of[printable ? static_cast<std::size_t>(b) : next++] = b;
  }
  return byte_of;
}
constexpr std::array<int16_t, 0x144> kByteOf = make_alphabet();

}  // namespace

std::optional<std::string> bytes_of_byte_level(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint point = read_code_point(token, at);
    if (point.value >= kByteOf.size() || kByteOf[point.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kByteOf[point.value]));
    at += point.bytes;
  }
  return bytes;
}

std::string byte_token(unsigned char byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace sy
