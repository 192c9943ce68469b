// Fields: one description of a configuration struct that serves parsing, printing, checking and documentation.
//
// A component writes, next to `struct Config` with its defaults,
//     void describe(Config& c, Fields& f) {
//       f.field("num_experts", c.num_experts, "routed experts per layer", {.min = 1});
//       f.field("scope", c.scope, {{"sequence", Scope::kSequence}, ...}, "what the counts are taken over");
//       f.section("router", "how tokens choose experts", [&](Fields& g) { describe(c.router, g); });
//     }
// and gets: strict YAML parsing (unknown key: line and nearest key), --print-config, and the generated reference.
// A visitor (the YAML reader, the printer, the reference writer) derives from Fields. No yaml-cpp here.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "csrc/core/check.h"

namespace sy {

// Constraints of one field, checked when it is read. min and max hold for each element of a list.
struct FieldRule {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;        // the value must be greater than min, not equal to it
  bool required = false;         // no default: its absence is an error
  bool active = true;            // false: the field has no effect beside the fields described before it. Then giving it
                                 // is an error, and it is not printed
  const char* active_when = "";  // the condition in words, for that error and the reference: "type is llama3"
};

// A value whose type is picked by name from a registry: {type: <name>, <the chosen type's own fields>}.
class ComponentSlot {
 public:
  virtual ~ComponentSlot() = default;
  virtual std::vector<std::string> choices() const = 0;  // registered names, sorted
  virtual bool select(const std::string& type) = 0;      // installs that type's default config; false if unknown
  virtual std::string type() const = 0;                  // "" when nothing is selected
  virtual std::string summary(const std::string& type) const = 0;  // one line on a registered type
  virtual std::unique_ptr<ComponentSlot> fresh() const = 0;        // another slot of this kind with nothing selected
  virtual void describe_selected(class Fields& fields) = 0;
};

// A list of such values.
class ComponentSlotList {
 public:
  virtual ~ComponentSlotList() = default;
  virtual void clear() = 0;
  virtual ComponentSlot& append() = 0;
  virtual std::size_t count() const = 0;
  virtual ComponentSlot& at(std::size_t i) = 0;
  virtual std::unique_ptr<ComponentSlot> fresh() const = 0;  // a slot of the elements' kind with nothing selected
};

class Fields {
 public:
  virtual ~Fields() = default;

  void field(const char* key, int64_t& value, const char* doc, FieldRule rule = {}) { on_int(key, value, doc, rule); }
  void field(const char* key, double& value, const char* doc, FieldRule rule = {}) { on_float(key, value, doc, rule); }
  void field(const char* key, bool& value, const char* doc, FieldRule rule = {}) { on_bool(key, value, doc, rule); }
  void field(const char* key, std::string& value, const char* doc, FieldRule rule = {}) {
    on_string(key, value, doc, rule);
  }
  void field(const char* key, std::vector<int64_t>& value, const char* doc, FieldRule rule = {}) {
    on_int_list(key, value, doc, rule);
  }
  void field(const char* key, std::vector<double>& value, const char* doc, FieldRule rule = {}) {
    on_float_list(key, value, doc, rule);
  }
  void field(const char* key, std::vector<std::string>& value, const char* doc, FieldRule rule = {}) {
    on_string_list(key, value, doc, rule);
  }
  void field(const char* key, ComponentSlot& value, const char* doc, FieldRule rule = {}) {
    on_component(key, value, doc, rule);
  }
  void field(const char* key, ComponentSlotList& value, const char* doc, FieldRule rule = {}) {
    on_component_list(key, value, doc, rule);
  }
  // An enum class by its YAML names.
  template <class E>
  requires std::is_enum_v<E>
  void field(const char* key, E& value, const std::vector<std::pair<const char*, E>>& names, const char* doc,
             FieldRule rule = {}) {
    std::vector<std::string> choices;
    std::size_t index = names.size();
    for (std::size_t i = 0; i < names.size(); ++i) {
      choices.emplace_back(names[i].first);
      if (names[i].second == value) index = i;
    }
    SY_CHECK(index < names.size(), "the value of '{}' is not among its names", key);
    on_choice(key, choices, index, doc, rule);
    value = names[index].second;
  }
  // A nested mapping. Absent in the YAML means: every field keeps its default.
  void section(const char* key, const char* doc, const std::function<void(Fields&)>& describe_inside) {
    on_section(key, doc, describe_inside);
  }
  // A list of mappings: `count` the present length; `element(i, fields)` describes element i (growing the list first).
  void section_list(const char* key, const char* doc, std::size_t count,
                    const std::function<void(std::size_t, Fields&)>& describe_element) {
    on_section_list(key, doc, count, describe_element);
  }
  // A check across fields. `key` (dotted for a field of a section inside this one) gives the place that the error
  // names. The reader reports the first check that failed, and only after the whole document is read, so that a
  // misspelt key is named first: code after a failed check still runs, with values inside their own rules.
  virtual void require(bool holds, const char* key, const std::string& message) = 0;

 protected:
  virtual void on_int(const char* key, int64_t& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_float(const char* key, double& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_bool(const char* key, bool& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_string(const char* key, std::string& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_int_list(const char* key, std::vector<int64_t>& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_float_list(const char* key, std::vector<double>& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_string_list(const char* key, std::vector<std::string>& value, const char* doc,
                              const FieldRule& rule) = 0;
  virtual void on_choice(const char* key, const std::vector<std::string>& choices, std::size_t& index, const char* doc,
                         const FieldRule& rule) = 0;
  virtual void on_component(const char* key, ComponentSlot& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_component_list(const char* key, ComponentSlotList& value, const char* doc, const FieldRule& rule) = 0;
  virtual void on_section(const char* key, const char* doc, const std::function<void(Fields&)>& describe_inside) = 0;
  virtual void on_section_list(const char* key, const char* doc, std::size_t count,
                               const std::function<void(std::size_t, Fields&)>& describe_element) = 0;
};

}  // namespace sy
