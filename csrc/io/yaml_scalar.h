// One YAML scalar read as one value, and one value written as a YAML scalar. Writing then reading gives equal values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sy {

// Whole numbers, also as 1e6 or 2.0 when that is exactly a whole number; nothing when it is not one or overflows.
std::optional<int64_t> parse_int(const std::string& text);
// Finite decimal numbers.
std::optional<double> parse_float(const std::string& text);
// true, false, yes, no, on, off; each also Capitalised or UPPER.
std::optional<bool> parse_bool(const std::string& text);

std::string print_float(double value);  // the shortest text that reads back equal, with a point or exponent
std::string print_string(const std::string& value);  // in double quotes where the plain text could mean something else

// The user's text for a message: control characters become spaces, and what is beyond 200 bytes becomes "...".
std::string one_line(const std::string& text);

}  // namespace sy
