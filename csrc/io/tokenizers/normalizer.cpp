#include "csrc/io/tokenizers/normalizer.h"

#include "csrc/io/tokenizers/component.h"
#include "csrc/io/tokenizers/nfc.h"
#include "csrc/io/tokenizers/pattern.h"

namespace sy {
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
    steps_.emplace_back(nfc);
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
