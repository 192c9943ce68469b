// UTF-8: reading code points, repairing broken text, white space as Unicode defines it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sy {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";  // U+FFFD

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;  // of the code point, or of the longest broken part (Unicode's "maximal subpart")
  bool valid = true;
  bool is_truncated = false;  // not valid, but more bytes after the end of the text could make it so
};

// The code point that starts at text[at]; at < text.size().
CodePoint read_code_point(std::string_view text, std::size_t at);

// Where the code point begins that ends at `end`; 0 < end <= text.size(), valid UTF-8.
std::size_t previous_code_point(std::string_view text, std::size_t end);

// `text` itself if it is valid UTF-8; otherwise a copy in `storage` in which every maximal broken part is one U+FFFD,
// as the "replace" error handlers of Python and Rust do.
std::string_view repair_utf8(std::string_view text, std::string& storage);

// Bytes at the end of `text` that begin a code point without completing it: 0 to 3.
std::size_t unfinished_tail(std::string_view text);

// The property White_Space.
bool is_white_space(char32_t value);

}  // namespace sy
