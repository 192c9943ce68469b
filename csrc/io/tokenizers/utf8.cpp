#include "csrc/io/tokenizers/utf8.h"

#include <cstring>

namespace sy {

CodePoint read_code_point(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {lead, 1, true, false};
  std::size_t length = 0;
  char32_t value = 0;
  // The second byte's range keeps out overlong forms, surrogates and values above U+10FFFF (Unicode, table 3-7).
  unsigned char low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
    value = lead & 0x1Fu;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    value = lead & 0x0Fu;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    value = lead & 0x07u;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {0, 1, false, false};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) return {0, i, false, true};
    const unsigned char next = byte(at + i);
    if (next < low || next > high) return {0, i, false, false};
    low = 0x80, high = 0xBF;
    value = value << 6 | (next & 0x3Fu);
  }
  return {value, length, true, false};
}

std::size_t previous_code_point(std::string_view text, std::size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

std::string_view repair_utf8(std::string_view text, std::string& storage) {
  bool is_copied = false;
  std::size_t copied = 0, at = 0;
  while (at < text.size()) {
    uint64_t eight;
    if (at + 8 <= text.size() && (std::memcpy(&eight, text.data() + at, 8), (eight & 0x8080808080808080u) == 0)) {
      at += 8;
      continue;
    }
    const CodePoint point = read_code_point(text, at);
    if (!point.valid) {
      if (!is_copied) storage.clear();
      is_copied = true;
      storage.append(text.substr(copied, at - copied)).append(kReplacementCharacter);
      copied = at + point.bytes;
    }
    at += point.bytes;
  }
  if (!is_copied) return text;
  storage.append(text.substr(copied));
  return storage;
}

std::size_t unfinished_tail(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back)
    if (read_code_point(text, text.size() - back).is_truncated) return back;
  return 0;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

}  // namespace sy
