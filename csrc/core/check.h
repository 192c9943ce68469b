// Errors: Error for broken invariants (exit 1), UserError for a user's mistake (one clear line, exit 2).
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace sy {

// A broken invariant or a failed system call: carries file:line.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A mistake in what the user gave (YAML, files, command line): the message says the value, the place and what to do.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] void throw_error(const char* expression, const char* file, int line, const std::string& message);

template <class... Args>
[[noreturn]] void user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace sy

// SY_CHECK(cond, "message with {}", values...): throws sy::Error with the expression, the place and the values.
#define SY_CHECK(cond, ...)                                                     \
  do {                                                                          \
    if (!(cond)) [[unlikely]]                                                   \
      ::sy::throw_error(#cond, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
  } while (0)
