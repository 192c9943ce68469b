// Every field that a description names, as data: for the generated reference, for tests over all keys, and for error
// messages that name a key of another section.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "csrc/core/fields.h"

namespace sy {

struct FieldInfo {
  enum class Kind { kSection, kComponentType, kField };
  Kind kind = Kind::kField;
  std::string path;           // "train.lr"; an element of a list is N: "moe.balance.N.coefficient"
  std::string key;            // the path's last part
  std::string component;      // inside a component: the registered type that has this field, else ""
  std::string type;           // in words: "integer", "number", "true or false", "text", "list of ...", "a | b"
  std::string default_value;  // as YAML; "" when there is none
  std::string rule;           // "at least 1", "required", "only when type is llama3"; "" for none
  std::string doc;
};

// In the order of the description; a section stands before its fields, a component's registered types (each with its
// own fields at their defaults) after the component itself. May grow described lists by one element: give it a spare
// object.
std::vector<FieldInfo> list_fields(const std::function<void(Fields&)>& describe);

// The rule's bounds in words: "", "at least 1", "greater than 0 and at most 1".
std::string bounds_text(const FieldRule& rule);

// The reference in Markdown: one heading and one table for each section and each type of a component.
std::string fields_markdown(const std::function<void(Fields&)>& describe);

}  // namespace sy
