#include "csrc/io/yaml_scalar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "csrc/core/check.h"

namespace sy {

namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// from_chars takes no plus sign.
std::string without_plus(const std::string& text) {
  return text.size() > 1 && text[0] == '+' && text[1] != '-' ? text.substr(1) : text;
}

bool is_word(const std::string& text, const char* word) {
  const std::string lower(word);
  std::string upper = lower, capitalised = lower;
  std::transform(lower.begin(), lower.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  capitalised[0] = upper[0];
  return text == lower || text == upper || text == capitalised;
}

// True when YAML readers could take the plain text for something other than this very text.
bool needs_quotes(const std::string& text) {
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c == '/';
  };
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_plain) || text[0] == '-') return true;
  if (is_word(text, "null") || parse_bool(text) || is_word(text, "y") || is_word(text, "n")) return true;
  return std::isdigit(static_cast<unsigned char>(text[0])) != 0 || text[0] == '.' ? parse_float(text).has_value()
                                                                                  : false;
}

}  // namespace

std::optional<int64_t> parse_int(const std::string& text) {
  const std::string digits = without_plus(text);
  const char* end = digits.data() + digits.size();
  int64_t whole = 0;
  const auto result = std::from_chars(digits.data(), end, whole);
  if (result.ec == std::errc{} && result.ptr == end) return whole;
  constexpr double kExact = 9007199254740992.0;  // 2^53: beyond it a double skips whole numbers
  const std::optional<double> number = parse_float(text);
  const bool is_exponent_or_point = text.find_first_of(".eE") != std::string::npos;
  if (!number || !is_exponent_or_point || std::trunc(*number) != *number || std::abs(*number) > kExact) return {};
  return static_cast<int64_t>(*number);
}

std::optional<double> parse_float(const std::string& text) {
  const std::string digits = without_plus(text);
  const char* end = digits.data() + digits.size();
  double value = 0;
  const auto result = std::from_chars(digits.data(), end, value);
  if (result.ec != std::errc{} || result.ptr != end || !std::isfinite(value)) return {};
  return value;
}

std::optional<bool> parse_bool(const std::string& text) {
  for (const char* word : {"true", "yes", "on"}) {
    if (is_word(text, word)) return true;
  }
  for (const char* word : {"false", "no", "off"}) {
    if (is_word(text, word)) return false;
  }
  return {};
}

std::string print_float(double value) {
  SY_CHECK(std::isfinite(value), "{} has no place in a configuration", value);
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string print_string(const std::string& value) {
  if (!needs_quotes(value)) return value;
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else if (c == '\t') {
      text += "\\t";
    } else if (is_control(c)) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text + "\"";
}

std::string one_line(const std::string& text) {
  constexpr std::size_t kLongest = 200;
  std::string line = text.substr(0, kLongest);
  for (char& c : line) {
    if (is_control(c)) c = ' ';
  }
  return text.size() > kLongest ? line + "..." : line;
}

}  // namespace sy
