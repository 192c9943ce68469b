#include "csrc/io/tokenizers/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>
#include <vector>

#include "csrc/core/check.h"
#include "csrc/io/tokenizers/unicode_additions.h"
#include "csrc/io/tokenizers/utf8.h"

namespace sy {
namespace {

// Insides of a character class: White_Space and everything else.
constexpr std::string_view kSpace =
    R"(\t-\r\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0e-\x1f\x21-\x84\x86-\x9f\xa1-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

class Translation {
 public:
  Translation(std::string_view pattern, const std::string& place) : in_(pattern), place_(place) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        start_atom();
        escape(/*in_class=*/false);
      } else if (c == '[') {
        start_atom();
        character_class();
      } else if (c == '(') {
        open_groups_.push_back(out_.size());
        copy(1);
      } else if (c == ')') {
        if (open_groups_.empty()) refuse("a ')' without its '('");
        atom_ = open_groups_.back();
        open_groups_.pop_back();
        copy(1);
      } else if (c == '{') {
        interval();
      } else {
        if (c != '*' && c != '+' && c != '?' && c != '|') start_atom();
        copy(read_code_point(in_, at_).bytes);
      }
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    user_error("{}: the regular expression '{}' has {}, which is not supported", place_, in_, what);
  }
  void start_atom() { atom_ = out_.size(); }
  void copy(std::size_t bytes) {
    out_.append(in_.substr(at_, bytes));
    at_ += bytes;
  }
  void escape(bool in_class) {
    if (at_ + 1 == in_.size()) refuse("a '\\' at its end");
    const char c = in_[at_ + 1];
    if (c == 's' || c == 'S') {
      const std::string_view inside = c == 's' ? kSpace : kNotSpace;
      out_ += in_class ? std::string(inside) : "[" + std::string(inside) + "]";
      at_ += 2;
    } else if (c == 'u' && at_ + 6 <= in_.size()) {
      out_ += "\\x{" + std::string(in_.substr(at_ + 2, 4)) + "}";
      at_ += 6;
    } else if ((c == 'p' || c == 'P' || c == 'x') && at_ + 2 < in_.size()) {
      const bool in_braces = in_[at_ + 2] == '{';
      const std::size_t end = in_braces ? in_.find('}', at_) : at_ + 2;
      if (end == std::string_view::npos) refuse("a '{' without its '}'");
      if (c == 'x') return copy(in_braces ? end + 1 - at_ : 2);
      std::string_view name = in_.substr(at_ + 2, end + 1 - at_ - 2);
      if (in_braces) name = name.substr(1, name.size() - 2);
      const bool is_inverted = name.starts_with('^');
      property(name.substr(is_inverted ? 1 : 0), (c == 'P') != is_inverted, in_class);
      at_ = end + 1;
    } else if (c == 'd' || c == 'D') {
      property("Nd", c == 'D', in_class);
      at_ += 2;
    } else if (std::string_view("rntf").find(c) != std::string_view::npos || !std::isalnum(c)) {
      copy(1);
      copy(read_code_point(in_, at_).bytes);
    } else {
      refuse(fmt::format("'\\{}'", c));
    }
  }
  void property(std::string_view name, bool negated, bool in_class) {
    const std::string additions = unicode_additions(name);
    if (additions.empty() || (negated && in_class)) {
      out_ += fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', name);
    } else if (in_class) {
      out_ += fmt::format("\\p{{{}}}{}", name, additions);
    } else {
      out_ += fmt::format("[{}\\p{{{}}}{}]", negated ? "^" : "", name, additions);
    }
  }
  void character_class() {
    copy(1);
    if (at_ < in_.size() && in_[at_] == '^') copy(1);
    bool is_first = true;
    while (at_ < in_.size() && (in_[at_] != ']' || is_first)) {
      if (in_.substr(at_).starts_with("[:")) {
        const std::size_t end = in_.find(":]", at_);
        if (end == std::string_view::npos) refuse("'[:' without ':]'");
        copy(end + 2 - at_);
      } else if (in_[at_] == '[') {
        refuse("a class within a class");
      } else if (in_.substr(at_).starts_with("&&")) {
        refuse("'&&' in a class");
      } else if (in_[at_] == '\\') {
        escape(/*in_class=*/true);
      } else {
        copy(read_code_point(in_, at_).bytes);
      }
      is_first = false;
    }
    if (at_ == in_.size()) refuse("a '[' without its ']'");
    copy(1);
  }
  void interval() {
    const std::size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) refuse("a '{' without its '}'");
    copy(end + 1 - at_);
    if (at_ < in_.size() && in_[at_] == '+') {
      out_.insert(atom_, "(?:");
      out_ += ")";
      copy(1);
    }
  }

  std::string_view in_;
  const std::string& place_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t atom_ = 0;  // where the last atom starts in out_
  std::vector<std::size_t> open_groups_;
};

}  // namespace

std::string translate_pattern(std::string_view pattern, const std::string& place) {
  return Translation(pattern, place).run();
}

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, const std::string& place) {
  const std::string translated = translate_pattern(pattern, place);
  int error = 0;
  PCRE2_SIZE where = 0;
  auto compiled = std::make_shared<Compiled>();
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &where, nullptr);
  if (compiled->code == nullptr)
    user_error("{}: the regular expression '{}' is not valid: {}", place, pattern, error_text(error));
  // Without machine code (a platform that PCRE2 has none for) matching is interpreted: slower, the same matches.
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);
  compiled_ = std::move(compiled);
}

Regex::Matcher::Matcher(const Regex& regex, std::string_view text)
    : compiled_(*regex.compiled_), text_(text), match_data_(pcre2_match_data_create(1, nullptr)) {}
Regex::Matcher::~Matcher() { pcre2_match_data_free(static_cast<pcre2_match_data*>(match_data_)); }

bool Regex::Matcher::next(std::size_t& begin, std::size_t& end) {
  if (at_ > text_.size()) return false;
  auto* const data = static_cast<pcre2_match_data*>(match_data_);
  const int found = pcre2_match(compiled_.code, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), at_,
                                PCRE2_NO_UTF_CHECK, data, nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  SY_CHECK(found >= 0, "matching stopped at byte {} of {}: {}", at_, text_.size(), error_text(found));
  const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(data);
  begin = range[0];
  end = range[1];
  // After an empty match the search goes on one code point further.
  at_ = end > begin ? end : end == text_.size() ? end + 1 : end + read_code_point(text_, end).bytes;
  return true;
}

}  // namespace sy
