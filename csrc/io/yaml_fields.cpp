#include "csrc/io/yaml_fields.h"

#include <algorithm>
#include <optional>

#include "csrc/core/nearest.h"
#include "csrc/io/key_aliases.h"
#include "csrc/io/list_fields.h"
#include "csrc/io/yaml_scalar.h"

namespace sy {

namespace {

using Kind = YamlNode::Kind;

std::string dotted(const std::string& parent, const std::string& key) {
  return parent.empty() ? key : parent + "." + key;
}

std::string shown(const YamlNode& node) {
  switch (node.kind) {
    case Kind::kNull:
      return "empty";
    case Kind::kList:
      return "a list";
    case Kind::kMapping:
      return "a section";
    case Kind::kScalar:
      return fmt::format(fmt::runtime(node.quoted ? "the text \"{}\"" : "'{}'"), one_line(node.text));
  }
  return "";
}

// What all readers of one document share.
struct Reading {
  const YamlDocument& document;
  const std::string& base;  // the path that the root description stands for
  const std::function<void(Fields&)>& describe_root;
  std::optional<std::string> missing;       // the first missing required key
  std::optional<std::string> failed_check;  // the first check that failed
};

// The end of an unknown-key message: what the user may have meant.
std::string suggestion(const Reading& reading, const std::string& key, const std::vector<std::string>& known) {
  if (const KeyAlias* alias = find_key_alias(key)) {
    const std::string note = *alias->note == '\0' ? "" : std::string(" (") + alias->note + ")";
    return fmt::format("; it is {}'s name, write '{}' here{}", alias->family, alias->ours, note);
  }
  std::vector<std::string> all_keys, all_paths;
  for (const FieldInfo& info : list_fields(reading.describe_root)) {
    if (info.kind == FieldInfo::Kind::kComponentType) continue;
    const std::string path = dotted(reading.base, info.path);
    if (info.key == key) {
      const std::string type = info.component.empty() ? "" : fmt::format(" with type: {}", info.component);
      return fmt::format("; it belongs to '{}'{}", path, type);
    }
    all_keys.push_back(info.key);
    all_paths.push_back(path);
  }
  if (const std::string near = nearest(key, known); !near.empty()) return fmt::format("; did you mean '{}'?", near);
  if (const std::string near = nearest(key, all_keys); !near.empty()) {
    const auto index = std::find(all_keys.begin(), all_keys.end(), near) - all_keys.begin();
    return fmt::format("; did you mean '{}'?", all_paths[static_cast<std::size_t>(index)]);
  }
  return known.empty() ? "; this section takes no keys" : "; known keys: " + join(known);
}

class Reader final : public Fields {
 public:
  // `node` is the mapping to read, or null when it is absent. `type` names a component's chosen type, for messages.
  Reader(Reading& reading, const YamlNode* node, std::string path, std::string type = "")
      : reading_(reading), node_(node), path_(std::move(path)), type_(std::move(type)) {
    if (!type_.empty()) known_.emplace_back("type");
  }

  // After the description ran: every key in the mapping must have been named by it.
  void refuse_unknown_keys() const {
    if (node_ == nullptr) return;
    for (std::size_t i = 0; i < node_->keys.size(); ++i) {
      const std::string& key = node_->keys[i];
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      const std::string where = path_.empty()   ? "at the top level"
                                : type_.empty() ? fmt::format("in section '{}'", path_)
                                                : fmt::format("in '{}' of type '{}'", path_, type_);
      user_error("{}: unknown key '{}' {}{}", node_->key_places[i], key, where, suggestion(reading_, key, known_));
    }
  }

  void require(bool holds, const char* key, const std::string& message) override {
    if (holds || reading_.failed_check) return;
    // The place of the deepest part of the key that the document has.
    const YamlNode* at = node_;
    std::string place = node_ == nullptr ? reading_.document.name() : node_->place;
    std::string rest = key;
    while (at != nullptr && !rest.empty()) {
      const std::size_t dot = rest.find('.');
      at = at->find(rest.substr(0, dot));
      rest = dot == std::string::npos ? "" : rest.substr(dot + 1);
      if (at != nullptr) place = at->place;
    }
    reading_.failed_check = fmt::format("{}: {}: {}", place, dotted(path_, key), message);
  }

 protected:
  void on_int(const char* key, int64_t& value, const char* doc, const FieldRule& rule) override {
    if (const YamlNode* node = given(key, doc, rule)) value = read_int(*node, dotted(path_, key), rule);
  }
  void on_float(const char* key, double& value, const char* doc, const FieldRule& rule) override {
    if (const YamlNode* node = given(key, doc, rule)) value = read_float(*node, dotted(path_, key), rule);
  }
  void on_bool(const char* key, bool& value, const char* doc, const FieldRule& rule) override {
    const YamlNode* node = given(key, doc, rule);
    if (node == nullptr) return;
    const std::optional<bool> read = plain(*node) ? parse_bool(node->text) : std::nullopt;
    if (!read) wrong(*node, dotted(path_, key), "true or false");
    value = *read;
  }
  void on_string(const char* key, std::string& value, const char* doc, const FieldRule& rule) override {
    if (const YamlNode* node = given(key, doc, rule)) value = read_string(*node, dotted(path_, key));
  }
  void on_int_list(const char* key, std::vector<int64_t>& value, const char* doc, const FieldRule& rule) override {
    read_list(key, value, doc, rule, "a list of whole numbers, as [1, 2]",
              [&](const YamlNode& node, const std::string& path) { return read_int(node, path, rule); });
  }
  void on_float_list(const char* key, std::vector<double>& value, const char* doc, const FieldRule& rule) override {
    read_list(key, value, doc, rule, "a list of numbers, as [0.5, 1]",
              [&](const YamlNode& node, const std::string& path) { return read_float(node, path, rule); });
  }
  void on_string_list(const char* key, std::vector<std::string>& value, const char* doc,
                      const FieldRule& rule) override {
    read_list(key, value, doc, rule, "a list of texts, as [a, b]",
              [&](const YamlNode& node, const std::string& path) { return read_string(node, path); });
  }
  void on_choice(const char* key, const std::vector<std::string>& choices, std::size_t& index, const char* doc,
                 const FieldRule& rule) override {
    const YamlNode* node = given(key, doc, rule);
    if (node == nullptr) return;
    const auto it = std::find(choices.begin(), choices.end(), node->kind == Kind::kScalar ? node->text : "");
    if (it == choices.end()) not_among(*node, dotted(path_, key), choices);
    index = static_cast<std::size_t>(it - choices.begin());
  }
  void on_component(const char* key, ComponentSlot& value, const char* doc, const FieldRule& rule) override {
    const YamlNode* node = find(key, rule);
    if (!rule.active) return;
    const bool is_given = node != nullptr && node->kind != Kind::kNull;
    if (!is_given && rule.required && value.type().empty()) report_missing(key, doc);
    if (node != nullptr && !is_given && !value.type().empty()) not_among(*node, dotted(path_, key), value.choices());
    read_component(is_given ? node : nullptr, dotted(path_, key), value);
  }
  void on_component_list(const char* key, ComponentSlotList& value, const char* doc, const FieldRule& rule) override {
    const YamlNode* node = given(key, doc, rule);
    const std::string path = dotted(path_, key);
    if (node != nullptr) {
      if (node->kind != Kind::kList) wrong(*node, path, "a list, as [{type: ...}]");
      value.clear();
      for (std::size_t i = 0; i < node->items.size(); ++i) value.append();
    }
    for (std::size_t i = 0; rule.active && i < value.count(); ++i) {
      read_component(node == nullptr ? nullptr : &node->items[i], path + "." + std::to_string(i), value.at(i));
    }
  }
  void on_section(const char* key, const char*, const std::function<void(Fields&)>& describe_inside) override {
    const YamlNode* node = find(key, {});
    if (node != nullptr && node->kind == Kind::kNull) node = nullptr;
    read_section(node, dotted(path_, key), describe_inside);
  }
  void on_section_list(const char* key, const char*, std::size_t count,
                       const std::function<void(std::size_t, Fields&)>& describe_element) override {
    const YamlNode* node = find(key, {});
    const std::string path = dotted(path_, key);
    if (node != nullptr) {
      if (node->kind != Kind::kList) wrong(*node, path, "a list of sections, each starting with '-'");
      SY_CHECK(count <= node->items.size(), "the list '{}' has default elements, which a shorter list cannot remove",
               path);
      count = node->items.size();
    }
    for (std::size_t i = 0; i < count; ++i) {
      read_section(node == nullptr ? nullptr : &node->items[i], path + "." + std::to_string(i),
                   [&](Fields& fields) { describe_element(i, fields); });
    }
  }

 private:
  static bool plain(const YamlNode& node) { return node.kind == Kind::kScalar && !node.quoted; }

  [[noreturn]] static void wrong(const YamlNode& node, const std::string& path, const std::string& expected) {
    const bool is_quoted_number = node.kind == Kind::kScalar && node.quoted && parse_float(node.text).has_value();
    user_error("{}: {} is {}, but must be {}{}", node.place, path, shown(node), expected,
               is_quoted_number ? "; remove the quotes" : "");
  }
  [[noreturn]] static void not_among(const YamlNode& node, const std::string& path,
                                     const std::vector<std::string>& choices) {
    const std::string near = node.kind == Kind::kScalar ? nearest(node.text, choices) : "";
    wrong(node, path,
          (choices.size() == 1 ? "" : "one of ") + join(choices) +
              (near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
  }
  static void check_bounds(const YamlNode& node, const std::string& path, double value, const FieldRule& rule) {
    const bool holds = value <= rule.max && (rule.above_min ? value > rule.min : value >= rule.min);
    if (!holds) user_error("{}: {} is {}, but must be {}", node.place, path, one_line(node.text), bounds_text(rule));
  }
  static int64_t read_int(const YamlNode& node, const std::string& path, const FieldRule& rule) {
    const std::optional<int64_t> value = plain(node) ? parse_int(node.text) : std::nullopt;
    if (!value) wrong(node, path, "a whole number");
    check_bounds(node, path, static_cast<double>(*value), rule);
    return *value;
  }
  static double read_float(const YamlNode& node, const std::string& path, const FieldRule& rule) {
    const std::optional<double> value = plain(node) ? parse_float(node.text) : std::nullopt;
    if (!value) wrong(node, path, "a number");
    check_bounds(node, path, *value, rule);
    return *value;
  }
  static std::string read_string(const YamlNode& node, const std::string& path) {
    if (node.kind != Kind::kScalar)
      wrong(node, path, node.kind == Kind::kNull ? "a text; write \"\" for none" : "a text");
    return node.text;
  }
  template <class T, class ReadElement>
  void read_list(const char* key, std::vector<T>& value, const char* doc, const FieldRule& rule, const char* expected,
                 ReadElement read_element) {
    const YamlNode* node = given(key, doc, rule);
    if (node == nullptr) return;
    const std::string path = dotted(path_, key);
    if (node->kind != Kind::kList) wrong(*node, path, expected);
    value.clear();
    for (std::size_t i = 0; i < node->items.size(); ++i) {
      value.push_back(read_element(node->items[i], path + "." + std::to_string(i)));
    }
  }

  // The value of `key` or null; the key counts as known.
  const YamlNode* find(const char* key, const FieldRule& rule) {
    known_.emplace_back(key);
    const YamlNode* node = node_ == nullptr ? nullptr : node_->find(key);
    if (node != nullptr && !rule.active) {
      const std::string path = dotted(path_, key);
      user_error("{}: {} has an effect only when {}; remove it (as an override: {}=null)", node->place, path,
                 rule.active_when, path);
    }
    return node;
  }
  const YamlNode* given(const char* key, const char* doc, const FieldRule& rule) {
    const YamlNode* node = find(key, rule);
    if (node == nullptr && rule.required && rule.active) report_missing(key, doc);
    return node;
  }
  void report_missing(const char* key, const char* doc) {
    if (reading_.missing) return;
    reading_.missing = fmt::format("{}: {} is missing; it has no default ({})",
                                   node_ == nullptr ? reading_.document.name() : node_->place, dotted(path_, key), doc);
  }
  void read_section(const YamlNode* node, const std::string& path,
                    const std::function<void(Fields&)>& describe_inside) {
    if (node != nullptr && node->kind != Kind::kMapping) wrong(*node, path, "a section of 'key: value' lines");
    Reader inside(reading_, node, path);
    describe_inside(inside);
    inside.refuse_unknown_keys();
  }
  void read_component(const YamlNode* node, const std::string& path, ComponentSlot& slot) {
    const YamlNode* type = node;
    if (node != nullptr && node->kind == Kind::kMapping) type = node->find("type");
    if (type == nullptr && node != nullptr && slot.type().empty()) {
      user_error("{}: {} has no 'type'; add one of {}", node->place, path, join(slot.choices()));
    }
    if (type != nullptr && (type->kind != Kind::kScalar || !slot.select(type->text))) {
      not_among(*type, type == node ? path : path + ".type", slot.choices());
    }
    if (slot.type().empty()) return;
    Reader inside(reading_, type == node ? nullptr : node, path, slot.type());
    slot.describe_selected(inside);
    inside.refuse_unknown_keys();
  }

  Reading& reading_;
  const YamlNode* node_;
  std::string path_;
  std::string type_;
  std::vector<std::string> known_;
};

// The value at a dotted path, or null when the document has none.
const YamlNode* node_at(const YamlDocument& document, const std::string& path) {
  const YamlNode* node = &document.root();
  std::size_t start = 0;
  while (node != nullptr && start < path.size()) {
    const std::size_t dot = std::min(path.find('.', start), path.size());
    node = node->find(path.substr(start, dot - start));
    start = dot + 1;
  }
  return node == nullptr || node->kind == Kind::kNull ? nullptr : node;
}

}  // namespace

void read_fields(const YamlDocument& document, const std::string& path, const std::function<void(Fields&)>& describe) {
  const YamlNode* node = node_at(document, path);
  if (node != nullptr && node->kind != Kind::kMapping) {
    user_error("{}: {} is {}, but must be a section of 'key: value' lines", node->place, path, shown(*node));
  }
  Reading reading{document, path, describe, {}, {}};
  Reader reader(reading, node, path);
  describe(reader);
  reader.refuse_unknown_keys();
  if (reading.missing) throw UserError(*reading.missing);
  if (reading.failed_check) throw UserError(*reading.failed_check);
}

}  // namespace sy
