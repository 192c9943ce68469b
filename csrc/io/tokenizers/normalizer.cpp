#include "csrc/io/tokenizers/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "csrc/io/tokenizers/component.h"
#include "csrc/io/tokenizers/pattern.h"

namespace sy {
namespace {

std::string compose(std::string_view text) {
  // Below U+0300, whose first byte is 0xCC, nothing composes or decomposes.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xCC; }))
    return std::string(text);
  utf8proc_uint8_t* composed = nullptr;
  const auto bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  SY_CHECK(bytes >= 0, "NFC of {} bytes: {}", text.size(), utf8proc_errmsg(bytes));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(composed, std::free);
  return {reinterpret_cast<const char*>(composed), static_cast<std::size_t>(bytes)};
}

}  // namespace

Normalizer::Normalizer(const Component& component) {
  if (!component.is_null()) add(component);
}

void Normalizer::add(const Component& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    component.allow({"normalizers"});
    for (const Component& child : component.children("normalizers")) add(child);
  } else if (type == "NFC") {
    component.allow({});
    steps_.emplace_back(compose);
  } else if (type == "Prepend") {
    component.allow({"prepend"});
    steps_.emplace_back([prefix = component.get<std::string>("prepend")](std::string_view text) {
      return text.empty() ? std::string() : prefix + std::string(text);
    });
  } else if (type == "Replace") {
    component.allow({"pattern", "content"});
    steps_.emplace_back([pattern = Pattern(component), content = component.get<std::string>("content")](
                            std::string_view text) { return pattern.replace(text, content); });
  } else {
    component.refuse_type("NFC, Prepend, Replace and Sequence");
  }
}

std::string_view Normalizer::apply(std::string_view text, std::string& storage) const {
  if (steps_.empty()) return text;
  for (std::size_t i = 0; i < steps_.size(); ++i) storage = steps_[i](i == 0 ? text : std::string_view(storage));
  return storage;
}

}  // namespace sy
