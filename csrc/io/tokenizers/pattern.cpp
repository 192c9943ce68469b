#include "csrc/io/tokenizers/pattern.h"

#include "csrc/io/tokenizers/component.h"

namespace sy {

Pattern::Pattern(const Component& component) {
  const Component pattern = component.child("pattern");
  if (pattern.json.contains("Regex")) {
    regex_.emplace(pattern.get<std::string>("Regex"), pattern.place());
  } else {
    literal_ = pattern.get<std::string>("String");
    if (literal_.empty()) user_error("{}: an empty pattern", pattern.place());
  }
}

std::string Pattern::replace(std::string_view text, std::string_view by) const {
  std::string replaced;
  std::size_t done = 0;
  for_each(text, [&](std::size_t begin, std::size_t end) {
    replaced.append(text.substr(done, begin - done)).append(by);
    done = end;
  });
  return replaced.append(text.substr(done));
}

}  // namespace sy
