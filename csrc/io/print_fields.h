// The resolved configuration as YAML: every field with its value, so that reading it gives an equal configuration.
#pragma once

#include <functional>
#include <string>

#include "csrc/core/fields.h"

namespace sy {

// Fields without effect (FieldRule::active is false) are left out, as the reader would refuse them.
std::string print_fields(const std::function<void(Fields&)>& describe);

}  // namespace sy
