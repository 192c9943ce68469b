#include "csrc/io/list_fields.h"

#include <cmath>

#include "csrc/core/nearest.h"
#include "csrc/io/yaml_scalar.h"

namespace sy {

namespace {

template <class T, class Print>
std::string print_list(const std::vector<T>& values, Print print) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i) text += (i > 0 ? ", " : "") + print(values[i]);
  return text + "]";
}

std::string rule_text(const FieldRule& rule) {
  std::vector<std::string> parts;
  if (rule.required) parts.emplace_back("required");
  if (const std::string bounds = bounds_text(rule); !bounds.empty()) parts.push_back(bounds);
  if (*rule.active_when != '\0') parts.push_back(std::string("only when ") + rule.active_when);
  return join(parts);
}

class Lister final : public Fields {
 public:
  Lister(std::vector<FieldInfo>& out, std::string path, std::string component)
      : out_(out), path_(std::move(path)), component_(std::move(component)) {}

  void require(bool, const char*, const std::string&) override {}

 protected:
  void on_int(const char* key, int64_t& value, const char* doc, const FieldRule& rule) override {
    add(key, "integer", std::to_string(value), doc, rule);
  }
  void on_float(const char* key, double& value, const char* doc, const FieldRule& rule) override {
    add(key, "number", print_float(value), doc, rule);
  }
  void on_bool(const char* key, bool& value, const char* doc, const FieldRule& rule) override {
    add(key, "true or false", value ? "true" : "false", doc, rule);
  }
  void on_string(const char* key, std::string& value, const char* doc, const FieldRule& rule) override {
    add(key, "text", print_string(value), doc, rule);
  }
  void on_int_list(const char* key, std::vector<int64_t>& value, const char* doc, const FieldRule& rule) override {
    add(key, "list of integers", print_list(value, [](int64_t v) { return std::to_string(v); }), doc, rule);
  }
  void on_float_list(const char* key, std::vector<double>& value, const char* doc, const FieldRule& rule) override {
    add(key, "list of numbers", print_list(value, print_float), doc, rule);
  }
  void on_string_list(const char* key, std::vector<std::string>& value, const char* doc,
                      const FieldRule& rule) override {
    add(key, "list of texts", print_list(value, print_string), doc, rule);
  }
  void on_choice(const char* key, const std::vector<std::string>& choices, std::size_t& index, const char* doc,
                 const FieldRule& rule) override {
    add(key, alternatives(choices), choices.at(index), doc, rule);
  }
  void on_component(const char* key, ComponentSlot& value, const char* doc, const FieldRule& rule) override {
    add(key, alternatives(value.choices()), value.type(), doc, rule);
    add_types(child_path(key), value);
  }
  void on_component_list(const char* key, ComponentSlotList& value, const char* doc, const FieldRule& rule) override {
    const std::unique_ptr<ComponentSlot> element = value.fresh();
    std::vector<std::string> present;
    for (std::size_t i = 0; i < value.count(); ++i) present.push_back(value.at(i).type());
    add(key, "list of " + alternatives(element->choices()), fmt::format("[{}]", join(present)), doc, rule);
    add_types(child_path(key) + ".N", *element);
  }
  void on_section(const char* key, const char* doc, const std::function<void(Fields&)>& describe_inside) override {
    out_.push_back({FieldInfo::Kind::kSection, child_path(key), key, component_, "section", "", "", doc});
    Lister inside(out_, child_path(key), component_);
    describe_inside(inside);
  }
  void on_section_list(const char* key, const char* doc, std::size_t,
                       const std::function<void(std::size_t, Fields&)>& describe_element) override {
    out_.push_back({FieldInfo::Kind::kSection, child_path(key), key, component_, "list of sections", "[]", "", doc});
    Lister inside(out_, child_path(key) + ".N", component_);
    describe_element(0, inside);
  }

 private:
  static std::string alternatives(const std::vector<std::string>& choices) {
    std::string text;
    for (const std::string& choice : choices) text += (text.empty() ? "" : " | ") + choice;
    return text;
  }
  std::string child_path(const char* key) const { return path_.empty() ? key : path_ + "." + key; }
  void add(const char* key, std::string type, std::string default_value, const char* doc, const FieldRule& rule) {
    out_.push_back({FieldInfo::Kind::kField, child_path(key), key, component_, std::move(type),
                    rule.required ? "" : std::move(default_value), rule_text(rule), doc});
  }
  void add_types(const std::string& path, const ComponentSlot& slot) {
    for (const std::string& type : slot.choices()) {
      const std::unique_ptr<ComponentSlot> example = slot.fresh();
      example->select(type);
      out_.push_back({FieldInfo::Kind::kComponentType, path, "type", type, "", "", "", slot.summary(type)});
      Lister inside(out_, path, type);
      example->describe_selected(inside);
    }
  }

  std::vector<FieldInfo>& out_;
  std::string path_;
  std::string component_;
};

std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

std::string code_cell(const std::string& text) { return text.empty() ? "" : fmt::format("`{}`", cell(text)); }

}  // namespace

std::vector<FieldInfo> list_fields(const std::function<void(Fields&)>& describe) {
  std::vector<FieldInfo> out;
  Lister lister(out, "", "");
  describe(lister);
  return out;
}

std::string bounds_text(const FieldRule& rule) {
  const auto number = [](double value) {
    return std::trunc(value) == value && std::abs(value) < 1e15 ? std::to_string(static_cast<int64_t>(value))
                                                                : fmt::format("{}", value);
  };
  std::string text;
  if (std::isfinite(rule.min)) text = (rule.above_min ? "greater than " : "at least ") + number(rule.min);
  if (std::isfinite(rule.max)) text += (text.empty() ? "" : " and ") + ("at most " + number(rule.max));
  return text;
}

std::string fields_markdown(const std::function<void(Fields&)>& describe) {
  // Sections and component types may open in the middle of a section; each gathers its own rows under its own heading.
  struct Block {
    std::string heading, doc, rows;
  };
  std::vector<Block> blocks = {{"", "", ""}};
  const auto heading_of = [](const std::string& path, const std::string& component) {
    return component.empty() ? path : path + ": " + component;
  };
  for (const FieldInfo& info : list_fields(describe)) {
    if (info.kind != FieldInfo::Kind::kField) {
      const std::string list = info.type == "list of sections" ? ".N" : "";
      blocks.push_back({heading_of(info.path + list, info.component), info.doc, ""});
      continue;
    }
    const std::string parent =
        info.path.size() > info.key.size() ? info.path.substr(0, info.path.size() - info.key.size() - 1) : "";
    const std::string heading = heading_of(parent, info.component);
    for (std::size_t i = blocks.size(); i-- > 0;) {
      if (blocks[i].heading != heading) continue;
      blocks[i].rows += "| `" + info.key + "` | " + cell(info.type) + " | " + code_cell(info.default_value) + " | " +
                        cell(info.rule) + " | " + cell(info.doc) + " |\n";
      break;
    }
  }
  std::string text;
  for (const Block& block : blocks) {
    if (!block.heading.empty()) text += "\n## " + block.heading + "\n\n" + block.doc + "\n";
    if (!block.rows.empty())
      text += "\n| key | type | default | rule | meaning |\n|---|---|---|---|---|\n" + block.rows;
  }
  return text;
}

}  // namespace sy
