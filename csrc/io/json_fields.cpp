#include "csrc/io/json_fields.h"

#include <nlohmann/json.hpp>

namespace sy {

namespace {

using Json = nlohmann::ordered_json;

class Writer final : public Fields {
 public:
  Json object = Json::object();

  void require(bool, const char*, const std::string&) override {}

 protected:
  void on_int(const char* key, int64_t& value, const char*, const FieldRule& rule) override { set(key, value, rule); }
  void on_float(const char* key, double& value, const char*, const FieldRule& rule) override { set(key, value, rule); }
  void on_bool(const char* key, bool& value, const char*, const FieldRule& rule) override { set(key, value, rule); }
  void on_string(const char* key, std::string& value, const char*, const FieldRule& rule) override {
    set(key, value, rule);
  }
  void on_int_list(const char* key, std::vector<int64_t>& value, const char*, const FieldRule& rule) override {
    set(key, value, rule);
  }
  void on_float_list(const char* key, std::vector<double>& value, const char*, const FieldRule& rule) override {
    set(key, value, rule);
  }
  void on_string_list(const char* key, std::vector<std::string>& value, const char*, const FieldRule& rule) override {
    set(key, value, rule);
  }
  void on_choice(const char* key, const std::vector<std::string>& choices, std::size_t& index, const char*,
                 const FieldRule& rule) override {
    set(key, choices.at(index), rule);
  }
  void on_component(const char* key, ComponentSlot& value, const char*, const FieldRule& rule) override {
    set(key, of(value), rule);
  }
  void on_component_list(const char* key, ComponentSlotList& value, const char*, const FieldRule& rule) override {
    Json list = Json::array();
    for (std::size_t i = 0; i < value.count(); ++i) list.push_back(of(value.at(i)));
    set(key, list, rule);
  }
  void on_section(const char* key, const char*, const std::function<void(Fields&)>& describe_inside) override {
    Writer inside;
    describe_inside(inside);
    object[key] = inside.object;
  }
  void on_section_list(const char* key, const char*, std::size_t count,
                       const std::function<void(std::size_t, Fields&)>& describe_element) override {
    Json list = Json::array();
    for (std::size_t i = 0; i < count; ++i) {
      Writer inside;
      describe_element(i, inside);
      list.push_back(inside.object);
    }
    object[key] = list;
  }

 private:
  template <class T>
  void set(const char* key, const T& value, const FieldRule& rule) {
    if (rule.active) object[key] = value;
  }
  static Json of(ComponentSlot& slot) {
    if (slot.type().empty()) return nullptr;
    Writer inside;
    inside.object["type"] = slot.type();
    slot.describe_selected(inside);
    return inside.object;
  }
};

}  // namespace

std::string json_fields(const std::function<void(Fields&)>& describe) {
  Writer writer;
  describe(writer);
  return writer.object.dump();
}

}  // namespace sy
