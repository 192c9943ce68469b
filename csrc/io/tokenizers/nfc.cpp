#include "csrc/io/tokenizers/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>

#include "csrc/core/check.h"
#include "csrc/io/tokenizers/utf8.h"

namespace sy {
namespace {

struct Range {
  char32_t first, last;
};

// Marks of Unicode 10 to 16 with a combining class or a composition.
constexpr Range kLaterMarks[] = {
    {0x07fd, 0x07fd},   {0x0897, 0x0897},   {0x0898, 0x089f},   {0x08ca, 0x08d3},   {0x09fe, 0x09fe},
    {0x0c3c, 0x0c3c},   {0x0d3b, 0x0d3c},   {0x0eba, 0x0eba},   {0x1715, 0x1715},   {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac},
    {0x10efc, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b},
    {0x113b8, 0x113e2}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99},
    {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x1611e, 0x1612f},
    {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
};

bool is_later_mark(char32_t c) {
  const auto* const range = std::lower_bound(std::begin(kLaterMarks), std::end(kLaterMarks), c,
                                             [](const Range& r, char32_t value) { return r.last < value; });
  return range != std::end(kLaterMarks) && range->first <= c;
}

enum class Kind {
  kBase,    // stays as it is, but may compose with what follows
  kChange,  // decomposes, changes places, or composes with what stands before
  kInert,
};

Kind kind_of(char32_t c) {
  if (c < 0x300) return Kind::kBase;
  const utf8proc_property_t& property = *utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  if (property.category >= UTF8PROC_CATEGORY_MN && property.category <= UTF8PROC_CATEGORY_ME)
    return is_later_mark(c) ? Kind::kInert : Kind::kChange;
  // Not U+11A7, which stands for no final consonant: utf8proc would lose it.
  const bool is_vowel_or_final_jamo = (c >= 0x1161 && c <= 0x1175) || (c >= 0x11A8 && c <= 0x11C2);
  const bool decomposes = property.decomp_type == 0 && property.decomp_seqindex != UINT16_MAX;
  return is_vowel_or_final_jamo || decomposes ? Kind::kChange : Kind::kBase;
}

void append_composed(std::string_view stretch, std::string& out) {
  utf8proc_uint8_t* composed = nullptr;
  const auto bytes = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(stretch.data()),
                                  static_cast<utf8proc_ssize_t>(stretch.size()), &composed,
                                  static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  SY_CHECK(bytes >= 0, "NFC of {} bytes: {}", stretch.size(), utf8proc_errmsg(bytes));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(composed, std::free);
  out.append(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(bytes));
}

}  // namespace

std::string nfc(std::string_view text) {
  // Below U+0300, whose first byte is 0xCC, nothing changes by itself.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xCC; }))
    return std::string(text);
  std::string out;
  std::size_t copied = 0, at = 0;
  std::size_t base = 0;  // of what comes next; `at` where nothing composes with it
  while (at < text.size()) {
    const CodePoint point = read_code_point(text, at);
    const Kind kind = kind_of(point.value);
    if (kind != Kind::kChange) {
      base = kind == Kind::kBase ? at : at + point.bytes;
      at += point.bytes;
      continue;
    }
    std::size_t end = at + point.bytes;
    while (end < text.size()) {
      const CodePoint next = read_code_point(text, end);
      if (kind_of(next.value) != Kind::kChange) break;
      end += next.bytes;
    }
    out.append(text.substr(copied, base - copied));
    append_composed(text.substr(base, end - base), out);
    copied = at = base = end;
  }
  return out.append(text.substr(copied));
}

}  // namespace sy
