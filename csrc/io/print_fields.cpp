#include "csrc/io/print_fields.h"

#include "csrc/io/yaml_scalar.h"

namespace sy {

namespace {

class Printer final : public Fields {
 public:
  Printer(std::string& out, std::size_t indent) : out_(out), indent_(indent) {}

  void require(bool, const char*, const std::string&) override {}

 protected:
  void on_int(const char* key, int64_t& value, const char*, const FieldRule& rule) override {
    line(key, std::to_string(value), rule);
  }
  void on_float(const char* key, double& value, const char*, const FieldRule& rule) override {
    line(key, print_float(value), rule);
  }
  void on_bool(const char* key, bool& value, const char*, const FieldRule& rule) override {
    line(key, value ? "true" : "false", rule);
  }
  void on_string(const char* key, std::string& value, const char*, const FieldRule& rule) override {
    line(key, print_string(value), rule);
  }
  void on_int_list(const char* key, std::vector<int64_t>& value, const char*, const FieldRule& rule) override {
    line(key, flow(value, [](int64_t v) { return std::to_string(v); }), rule);
  }
  void on_float_list(const char* key, std::vector<double>& value, const char*, const FieldRule& rule) override {
    line(key, flow(value, print_float), rule);
  }
  void on_string_list(const char* key, std::vector<std::string>& value, const char*, const FieldRule& rule) override {
    line(key, flow(value, print_string), rule);
  }
  void on_choice(const char* key, const std::vector<std::string>& choices, std::size_t& index, const char*,
                 const FieldRule& rule) override {
    line(key, print_string(choices.at(index)), rule);
  }
  void on_component(const char* key, ComponentSlot& value, const char*, const FieldRule& rule) override {
    if (!rule.active) return;
    if (value.type().empty()) return line(key, "null", rule);
    open(key);
    print_component(value, indent_ + 2);
  }
  void on_component_list(const char* key, ComponentSlotList& value, const char*, const FieldRule& rule) override {
    if (!rule.active) return;
    if (value.count() == 0) return line(key, "[]", rule);
    open(key);
    for (std::size_t i = 0; i < value.count(); ++i) {
      print_element([&] { print_component(value.at(i), indent_ + 4); });
    }
  }
  void on_section(const char* key, const char*, const std::function<void(Fields&)>& describe_inside) override {
    open(key);
    const std::size_t start = out_.size();
    Printer inside(out_, indent_ + 2);
    describe_inside(inside);
    // A section with nothing in it prints as `key: {}`.
    if (out_.size() == start) out_.insert(start - 1, " {}");
  }
  void on_section_list(const char* key, const char*, std::size_t count,
                       const std::function<void(std::size_t, Fields&)>& describe_element) override {
    if (count == 0) return line(key, "[]", {});
    open(key);
    for (std::size_t i = 0; i < count; ++i) {
      print_element([&] {
        Printer inside(out_, indent_ + 4);
        describe_element(i, inside);
      });
    }
  }

 private:
  template <class T, class Print>
  static std::string flow(const std::vector<T>& values, Print print) {
    std::string text = "[";
    for (std::size_t i = 0; i < values.size(); ++i) text += (i > 0 ? ", " : "") + print(values[i]);
    return text + "]";
  }
  void line(const char* key, const std::string& value, const FieldRule& rule) {
    if (rule.active) out_ += std::string(indent_, ' ') + key + ": " + value + "\n";
  }
  void open(const char* key) { out_ += std::string(indent_, ' ') + key + ":\n"; }
  void print_component(ComponentSlot& slot, std::size_t indent) {
    Printer inside(out_, indent);
    inside.line("type", print_string(slot.type()), {});
    slot.describe_selected(inside);
  }
  // Prints with four more spaces, then turns the first two of them on the first line into "- ".
  template <class PrintInside>
  void print_element(PrintInside print_inside) {
    const std::size_t start = out_.size();
    print_inside();
    SY_CHECK(out_.size() > start, "an element of a list has no fields");
    out_[start + indent_ + 2] = '-';
  }

  std::string& out_;
  std::size_t indent_;
};

}  // namespace

std::string print_fields(const std::function<void(Fields&)>& describe) {
  std::string out;
  Printer printer(out, 0);
  describe(printer);
  return out;
}

}  // namespace sy
