// Registry: named implementations of an interface, each with its own Config, found by the name in the YAML.
//
// A method file ends with one line:
//     SY_REGISTER(Router, SoftmaxTopk, "softmax_topk", "softmax scores, top-k experts per token");
// where SoftmaxTopk derives from Router, has `struct Config`, a free `describe(SoftmaxTopk::Config&, Fields&)` and a
// constructor SoftmaxTopk(const Config&, const Router::Build&). `Interface::Build` carries what every implementation
// needs to construct itself. Method folders are object libraries, so registrations are never dropped by the linker.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "csrc/core/check.h"
#include "csrc/core/fields.h"

namespace sy {

template <class Interface>
class Registry {
 public:
  struct Entry {
    std::string name;
    std::string summary;
    std::function<std::shared_ptr<void>()> default_config;
    std::function<std::shared_ptr<void>(const void*)> copy_config;
    std::function<void(void*, Fields&)> describe;
    std::function<std::unique_ptr<Interface>(const void*, const typename Interface::Build&)> build;
  };

  static Registry& instance() {
    static Registry registry;
    return registry;
  }
  bool add(Entry entry) {
    SY_CHECK(!entries_.contains(entry.name), "two implementations are registered as '{}'", entry.name);
    const std::string name = entry.name;
    entries_.emplace(name, std::move(entry));
    return true;
  }
  const Entry* find(const std::string& name) const {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) result.push_back(name);
    return result;
  }

 private:
  std::map<std::string, Entry> entries_;  // sorted, so listings do not depend on link order
};

// A configured choice of an implementation of Interface: its registered name and that implementation's Config.
// Copies are deep.
template <class Interface>
class Component final : public ComponentSlot {
 public:
  Component() = default;
  explicit Component(const char* type) { SY_CHECK(select(type), "'{}' is not registered", type); }
  Component(const Component& other) { *this = other; }
  Component(Component&&) noexcept = default;
  Component& operator=(const Component& other) {
    if (this == &other) return *this;
    type_ = other.type_;
    config_ = other.selected() ? other.entry().copy_config(other.config_.get()) : nullptr;
    return *this;
  }
  Component& operator=(Component&&) noexcept = default;

  std::vector<std::string> choices() const override { return Registry<Interface>::instance().names(); }
  bool select(const std::string& type) override {
    const auto* entry = Registry<Interface>::instance().find(type);
    if (entry == nullptr) return false;
    type_ = type;
    config_ = entry->default_config();
    return true;
  }
  std::string type() const override { return type_; }
  std::string summary(const std::string& type) const override {
    const auto* entry = Registry<Interface>::instance().find(type);
    return entry == nullptr ? "" : entry->summary;
  }
  std::unique_ptr<ComponentSlot> fresh() const override { return std::make_unique<Component>(); }
  void describe_selected(Fields& fields) override {
    if (selected()) entry().describe(config_.get(), fields);
  }
  bool selected() const { return !type_.empty(); }
  std::unique_ptr<Interface> build(const typename Interface::Build& arguments) const {
    SY_CHECK(selected(), "no implementation selected");
    return entry().build(config_.get(), arguments);
  }

 private:
  const typename Registry<Interface>::Entry& entry() const { return *Registry<Interface>::instance().find(type_); }

  std::string type_;
  std::shared_ptr<void> config_;
};

template <class Interface>
class ComponentList final : public ComponentSlotList {
 public:
  void clear() override { items_.clear(); }
  ComponentSlot& append() override { return items_.emplace_back(); }
  std::size_t count() const override { return items_.size(); }
  ComponentSlot& at(std::size_t i) override { return items_.at(i); }
  std::unique_ptr<ComponentSlot> fresh() const override { return std::make_unique<Component<Interface>>(); }
  const std::vector<Component<Interface>>& items() const { return items_; }

 private:
  std::vector<Component<Interface>> items_;
};

template <class Interface, class Implementation>
typename Registry<Interface>::Entry registry_entry(const char* name, const char* summary) {
  using Config = typename Implementation::Config;
  return {name,
          summary,
          [] { return std::static_pointer_cast<void>(std::make_shared<Config>()); },
          [](const void* config) {
            return std::static_pointer_cast<void>(std::make_shared<Config>(*static_cast<const Config*>(config)));
          },
          [](void* config, Fields& fields) { describe(*static_cast<Config*>(config), fields); },
          [](const void* config, const typename Interface::Build& arguments) -> std::unique_ptr<Interface> {
            return std::make_unique<Implementation>(*static_cast<const Config*>(config), arguments);
          }};
}

}  // namespace sy

#define SY_REGISTER(Interface, Implementation, name, summary)                                                    \
  namespace {                                                                                                    \
  [[maybe_unused]] const bool registered_##Implementation =                                                      \
      ::sy::Registry<Interface>::instance().add(::sy::registry_entry<Interface, Implementation>(name, summary)); \
  }
