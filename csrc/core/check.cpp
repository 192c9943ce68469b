#include "csrc/core/check.h"

#include "kernels/types.h"

namespace sy {

void throw_error(const char* expression, const char* file, int line, const std::string& message) {
  throw Error(fmt::format("{} ({} is false at {}:{})", message, expression, file, line));
}

void kernels::fail(const char* what, const char* file, int line) {
  throw Error(fmt::format("kernel precondition {} is false at {}:{}", what, file, line));
}

}  // namespace sy
