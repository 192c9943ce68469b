// The "pattern" of a Split or Replace component: {"String": literal} or {"Regex": expression}.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "csrc/io/tokenizers/regex.h"

namespace sy {

struct Component;

class Pattern {
 public:
  explicit Pattern(const Component& component);  // that has the key "pattern"
  explicit Pattern(Regex regex) : regex_(std::move(regex)) {}
  explicit Pattern(std::string literal) : literal_(std::move(literal)) {}

  template <class OnMatch>
  void for_each(std::string_view text, OnMatch on_match) const {
    if (regex_) return regex_->for_each(text, on_match);
    for (std::size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, at + literal_.size()))
      on_match(at, at + literal_.size());
  }
  std::string replace(std::string_view text, std::string_view by) const;

 private:
  std::optional<Regex> regex_;
  std::string literal_;
};

}  // namespace sy
