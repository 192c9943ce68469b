#include "csrc/io/yaml_document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "csrc/core/check.h"
#include "csrc/io/yaml_scalar.h"

namespace sy {

namespace {

constexpr std::size_t kMaxNodes = 100000;  // aliases of aliases grow exponentially; no configuration is this large

// Builds the tree from yaml-cpp's events, which carry a line for every value (its nodes lose the lines of keys).
class TreeBuilder final : public YAML::EventHandler {
 public:
  // With `fixed_place` every node gets that place instead of name:line.
  TreeBuilder(std::string name, std::optional<std::string> fixed_place)
      : name_(std::move(name)), fixed_place_(std::move(fixed_place)) {}

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(node(YamlNode::Kind::kNull, mark), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) user_error("{}: this alias refers to itself", place(mark));
    add(it->second, 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode scalar = node(YamlNode::Kind::kScalar, mark);
    scalar.text = value;
    scalar.quoted = tag == "!";
    if (tag != "?" && tag != "!")
      user_error("{}: YAML tags ({}) are not supported; write the plain value", place(mark), one_line(tag));
    add(std::move(scalar), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open_.push_back({node(YamlNode::Kind::kList, mark), anchor});
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open_.push_back({node(YamlNode::Kind::kMapping, mark), anchor});
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor = 0;
  };

  std::string place(const YAML::Mark& mark) const {
    return fixed_place_ ? *fixed_place_ : name_ + ":" + std::to_string(mark.line + 1);
  }
  YamlNode node(YamlNode::Kind kind, const YAML::Mark& mark) const {
    YamlNode result;
    result.kind = kind;
    result.place = place(mark);
    return result;
  }
  static std::size_t count_nodes(const YamlNode& tree) {
    std::size_t count = 1;
    for (const YamlNode& item : tree.items) count += count_nodes(item);
    return count;
  }
  void close() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    add(std::move(closed.node), closed.anchor);
  }
  // A complete node goes to the innermost open list or mapping; in a mapping keys and values alternate.
  void add(YamlNode value, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = value;
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    YamlNode& parent = open_.back().node;
    if (parent.kind == YamlNode::Kind::kMapping && parent.keys.size() == parent.items.size()) {
      add_key(parent, value);
      return;
    }
    num_nodes_ += count_nodes(value);
    if (num_nodes_ > kMaxNodes) user_error("{}: more than {} values; are aliases nested?", value.place, kMaxNodes);
    // yaml-cpp places an absent value, a nested mapping or list at the line after its key.
    if (parent.kind == YamlNode::Kind::kMapping && value.kind != YamlNode::Kind::kScalar) {
      value.place = parent.key_places.back();
    }
    parent.items.push_back(std::move(value));
  }
  static void add_key(YamlNode& mapping, const YamlNode& key) {
    if (key.kind != YamlNode::Kind::kScalar || one_line(key.text) != key.text)
      user_error("{}: a key must be a plain word", key.place);
    if (key.text == "<<") user_error("{}: merge keys ('<<') are not supported; write the keys out", key.place);
    const auto it = std::find(mapping.keys.begin(), mapping.keys.end(), key.text);
    if (it != mapping.keys.end()) {
      user_error("{}: key '{}' was already given at {}; remove one of them", key.place, key.text,
                 mapping.key_places[static_cast<std::size_t>(it - mapping.keys.begin())]);
    }
    mapping.keys.push_back(key.text);
    mapping.key_places.push_back(key.place);
  }

  std::string name_;
  std::optional<std::string> fixed_place_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  std::size_t num_nodes_ = 0;
  YamlNode root_;
};

YamlNode parse(const std::string& text, const std::string& name, const std::optional<std::string>& fixed_place) {
  std::istringstream stream(text);
  TreeBuilder builder(name, fixed_place);
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return {};
    YamlNode root = builder.take_root();
    if (parser.HandleNextDocument(builder)) {
      user_error("{}: holds several YAML documents ('---'); keep one", fixed_place.value_or(name));
    }
    return root;
  } catch (const YAML::Exception& e) {
    if (fixed_place) user_error("{}: the value is not valid YAML ({})", *fixed_place, one_line(e.msg));
    user_error("{}:{}: not valid YAML ({} at column {})", name, e.mark.line + 1, one_line(e.msg), e.mark.column + 1);
  }
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

bool is_index(const std::string& part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
}

YamlNode& list_element(YamlNode& list, const std::string& part, const std::string& parent_path,
                       const std::string& place) {
  std::size_t index = 0;
  const bool is_number =
      is_index(part) && std::from_chars(part.data(), part.data() + part.size(), index).ec == std::errc{};
  if (is_number && index < list.items.size()) return list.items[index];
  if (list.items.empty()) user_error("{}: the list '{}' is empty; set the whole list", place, parent_path);
  user_error("{}: the list '{}' ({}) has elements 0 to {}, not '{}'", place, parent_path, list.place,
             list.items.size() - 1, part);
}

// The value at `part` inside `parent`, made when absent.
YamlNode& descend(YamlNode& parent, const std::string& part, const std::string& parent_path, const std::string& place) {
  using Kind = YamlNode::Kind;
  if (parent.kind == Kind::kList) return list_element(parent, part, parent_path, place);
  if (is_index(part)) {
    user_error("{}: '{}' is not a list in the file; set it whole, as {}=[...]", place, parent_path, parent_path);
  }
  if (parent.kind == Kind::kScalar) {
    YamlNode type;
    std::swap(type, parent);
    parent.keys = {"type"};
    parent.key_places = {type.place};
    parent.place = place;
    parent.items.push_back(std::move(type));
  } else if (parent.kind == Kind::kNull) {
    parent.place = place;
  }
  parent.kind = Kind::kMapping;
  const auto it = std::find(parent.keys.begin(), parent.keys.end(), part);
  if (it != parent.keys.end()) return parent.items[static_cast<std::size_t>(it - parent.keys.begin())];
  parent.keys.push_back(part);
  parent.key_places.push_back(place);
  return parent.items.emplace_back();
}

void remove(YamlNode& root, const std::vector<std::string>& parts, const std::string& path, const std::string& place) {
  YamlNode* parent = &root;
  for (std::size_t i = 0; parent != nullptr && i + 1 < parts.size(); ++i) {
    if (parent->kind == YamlNode::Kind::kList) {
      parent = &list_element(*parent, parts[i], path, place);
    } else {
      parent = const_cast<YamlNode*>(parent->find(parts[i]));
    }
  }
  if (parent == nullptr || parent->find(parts.back()) == nullptr) {
    user_error("{}: there is no '{}' to remove", place, path);
  }
  const auto index = std::find(parent->keys.begin(), parent->keys.end(), parts.back()) - parent->keys.begin();
  parent->keys.erase(parent->keys.begin() + index);
  parent->key_places.erase(parent->key_places.begin() + index);
  parent->items.erase(parent->items.begin() + index);
}

}  // namespace

const YamlNode* YamlNode::find(const std::string& key) const {
  const auto it = std::find(keys.begin(), keys.end(), key);
  return it == keys.end() ? nullptr : &items[static_cast<std::size_t>(it - keys.begin())];
}

YamlDocument YamlDocument::from_text(const std::string& text, const std::string& name) {
  YamlDocument document;
  document.name_ = name;
  document.root_ = parse(text, name, std::nullopt);
  if (document.root_.kind == YamlNode::Kind::kNull) document.root_.place = name;
  if (document.root_.kind != YamlNode::Kind::kNull && document.root_.kind != YamlNode::Kind::kMapping) {
    user_error("{}: a configuration is a mapping of sections ('model:', 'train:' ...), not a {}", document.root_.place,
               document.root_.kind == YamlNode::Kind::kList ? "list" : "single value");
  }
  document.root_.place = name;
  return document;
}

YamlDocument YamlDocument::from_file(const std::string& path) {
  if (std::filesystem::is_directory(path)) user_error("{}: is a folder; name the YAML file inside it", path);
  std::ifstream file(path, std::ios::binary);
  if (!file) user_error("{}: cannot be opened: {}", path, std::strerror(errno));
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) user_error("{}: cannot be read: {}", path, std::strerror(errno));
  return from_text(text.str(), path);
}

void YamlDocument::apply_override(const std::string& assignment) {
  const std::string place = "override '" + one_line(assignment) + "'";
  const std::size_t equals = assignment.find('=');
  const std::string path = assignment.substr(0, equals);
  const std::vector<std::string> parts = split_path(path);
  if (equals == std::string::npos || one_line(path) != path ||
      std::find(parts.begin(), parts.end(), "") != parts.end()) {
    user_error("{}: write section.key=value, as train.train_iters=100", place);
  }
  YamlNode value = parse(assignment.substr(equals + 1), "", place);
  value.place = place;
  if (equals + 1 == assignment.size())
    user_error("{}: has no value; write null to remove the key, \"\" for an empty text", place);
  if (value.kind == YamlNode::Kind::kNull) return remove(root_, parts, path, place);
  YamlNode* node = &root_;
  std::string parent_path;
  for (const std::string& part : parts) {
    node = &descend(*node, part, parent_path, place);
    parent_path += (parent_path.empty() ? "" : ".") + part;
  }
  *node = std::move(value);
}

}  // namespace sy
