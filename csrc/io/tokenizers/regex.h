// Regular expressions of tokenizer files, which are written for Oniguruma, run by PCRE2 (compiled to machine code).
// What differs is translated, or refused where it cannot be:
//   \s \S        PCRE2 counts U+180E as a space: written out as the property White_Space
//   x{1,3}+      greedy in Oniguruma's Ruby syntax: repeats the interval; possessive in PCRE2
//   \uHHHH       \x{HHHH}
//   ^ $          match at every line
//   \w \b \h \v, [a[b]], [a&&b]   mean something else in PCRE2: refused
//   \p{L} \d     with the characters that Unicode 15 to 16 added (unicode_additions.h); as \P{L} inside of a class, and
//                for properties other than general categories, without them
// (?i:...) agrees for the contractions that these files hold: no single character folds to two of their letters.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace sy {

// Oniguruma's pattern as PCRE2 wants it; UserError, starting with `place`, for what cannot be translated.
std::string translate_pattern(std::string_view pattern, const std::string& place);

class Regex {
 public:
  Regex(std::string_view pattern, const std::string& place);

  // Calls on_match(begin, end) for every match in `text` (valid UTF-8), left to right, without overlap. May run on
  // several threads.
  template <class OnMatch>
  void for_each(std::string_view text, OnMatch on_match) const {
    Matcher matcher(*this, text);
    std::size_t begin = 0, end = 0;
    while (matcher.next(begin, end)) on_match(begin, end);
  }

 private:
  struct Compiled;
  class Matcher {
   public:
    Matcher(const Regex& regex, std::string_view text);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    bool next(std::size_t& begin, std::size_t& end);

   private:
    const Compiled& compiled_;
    std::string_view text_;
    void* match_data_;
    std::size_t at_ = 0;
  };
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace sy
