// A YAML file as a tree in which every value remembers where it came from, with command-line overrides applied.
//
// The only file that uses yaml-cpp is yaml_document.cpp; everything that reads configurations works on YamlNode.
// Stricter than YAML: one document, its root a mapping, no duplicate keys, plain scalar keys, no tags, no `<<` merges.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace sy {

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMapping };
  Kind kind = Kind::kNull;
  std::string text;               // kScalar: the text without quotes
  bool quoted = false;            // kScalar: the text stood in quotes, so it is a string whatever it looks like
  std::string place;              // "configs/x.yaml:12" or "override 'train.lr=1'"
  std::vector<std::string> keys;  // kMapping: the key of each item
  std::vector<std::string> key_places;
  std::vector<YamlNode> items;  // kList: the elements; kMapping: the values

  const YamlNode* find(const std::string& key) const;  // kMapping: the value, or null when absent
};

class YamlDocument {
 public:
  // UserError when the file cannot be read or is not such a document.
  static YamlDocument from_file(const std::string& path);
  // The same from text; `name` takes the file's place in messages.
  static YamlDocument from_text(const std::string& text, const std::string& name);

  // "key.sub=value" or "list.0.key=value": sets one value, creating mappings on the way; the value is YAML ("3",
  // "[1, 2]", "{type: hash}"), and "null" removes the key so that its default holds. A key inside a scalar turns the
  // scalar into {type: <scalar>, <key>: ...}, since a component may be written as its bare name.
  // Whether the key exists is known to the reader, which reports it as coming from this override.
  void apply_override(const std::string& assignment);

  const YamlNode& root() const { return root_; }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  YamlNode root_;
};

}  // namespace sy
