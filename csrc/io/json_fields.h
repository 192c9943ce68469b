// A configuration as JSON, for files of others (a model's config.json): a component is {"type": name, its fields}.
#pragma once

#include <functional>
#include <string>

#include "csrc/core/fields.h"

namespace sy {

// The text of one JSON object, keys in the order of description. Fields without effect are left out.
std::string json_fields(const std::function<void(Fields&)>& describe);

}  // namespace sy
