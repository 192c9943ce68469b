// One component of a tokenizer.json with its place, so that every refusal names the file and the component:
//   models/tokenizer.json: pre_tokenizer.pretokenizers[1]: type 'Punctuation' is not supported ...
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "csrc/core/check.h"

namespace sy {

struct Component {
  const nlohmann::json& json;
  std::string file, path;

  std::string place() const { return path.empty() ? file : file + ": " + path; }
  bool is_null() const { return json.is_null(); }

  const nlohmann::json& at(const char* key) const {
    if (!json.is_object() || !json.contains(key)) user_error("{}: no '{}'", place(), key);
    return json.at(key);
  }
  Component child(const char* key) const { return {at(key), file, path.empty() ? key : path + "." + key}; }
  std::vector<Component> children(const char* key) const {
    std::vector<Component> all;
    const nlohmann::json& list = at(key);
    if (!list.is_array()) user_error("{}: '{}' is not a list", place(), key);
    for (std::size_t i = 0; i < list.size(); ++i)
      all.push_back({list[i], file, fmt::format("{}{}{}[{}]", path, path.empty() ? "" : ".", key, i)});
    return all;
  }
  template <class T>
  T get(const char* key) const {
    try {
      return at(key).get<T>();
    } catch (const nlohmann::json::exception&) {
      user_error("{}: '{}' is a JSON {}", place(), key, at(key).type_name());
    }
  }
  // A missing or null key takes the default.
  template <class T>
  T get(const char* key, T otherwise) const {
    return json.is_object() && json.contains(key) && !json.at(key).is_null() ? get<T>(key) : otherwise;
  }
  std::string type() const { return get<std::string>("type"); }

  // A key without meaning here would change the tokens if it were passed over.
  void allow(std::initializer_list<std::string_view> keys) const {
    for (const auto& item : json.items()) {
      bool known = item.key() == "type";
      for (const std::string_view key : keys) known = known || item.key() == key;
      if (!known) user_error("{}: the key '{}' is not supported", place(), item.key());
    }
  }
  [[noreturn]] void refuse_type(const char* supported) const {
    user_error("{}: type '{}' is not supported, only {}", place(), type(), supported);
  }
};

}  // namespace sy
