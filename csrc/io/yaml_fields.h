// Reads a YAML document into described configuration structs, strictly.
//
// Every mistake is one UserError of one line that names the place (file:line or the override), the key with its
// sections, the value and what to write instead: an unknown key (with the nearest one, the section it belongs to, or
// our name for another framework's key), a wrong type, a value out of bounds, a field that has no effect beside the
// others, a missing required key, a failed check. The order: values and unknown keys as the description meets them,
// then missing keys, then checks.
#pragma once

#include <functional>
#include <string>

#include "csrc/core/fields.h"
#include "csrc/io/yaml_document.h"

namespace sy {

// Fills what `describe` describes from the value at `path` ("" for the whole document, else "moe.router"); an absent
// value leaves every default. Keys that the description does not name are errors, so the whole document is described at
// once unless a path selects a part of it.
void read_fields(const YamlDocument& document, const std::string& path, const std::function<void(Fields&)>& describe);

}  // namespace sy
