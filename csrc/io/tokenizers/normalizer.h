// Normalizers of tokenizer.json: what happens to text before it is cut into words. Supported: NFC, Prepend, Replace,
// Sequence.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sy {

struct Component;

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(const Component& component);  // null: text stays as it is

  // `text` (valid UTF-8) or its changed copy in `storage`.
  std::string_view apply(std::string_view text, std::string& storage) const;

 private:
  using Step = std::function<std::string(std::string_view)>;
  void add(const Component& component);

  std::vector<Step> steps_;
};

}  // namespace sy
