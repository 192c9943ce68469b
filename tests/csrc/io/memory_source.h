// A tensor source whose values stand in memory, for tests of conversions; tests change it to see errors.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "csrc/io/tensor_source.h"

namespace sy::testing {

class MemorySource final : public TensorSource {
 public:
  template <class T>
  void add(const std::string& name, const std::vector<int64_t>& shape, const std::vector<T>& values) {
    tensors_.push_back({name, dtype_of<T>(), shape});
    std::vector<std::byte>& bytes = bytes_.emplace_back(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
  }
  size_t index(const std::string& name) const {
    for (size_t i = 0; i < tensors_.size(); ++i)
      if (tensors_[i].name == name) return i;
    throw Error("no tensor '" + name + "'");
  }
  void erase(const std::string& name) {
    const auto i = static_cast<std::ptrdiff_t>(index(name));
    tensors_.erase(tensors_.begin() + i);
    bytes_.erase(bytes_.begin() + i);
  }
  std::vector<int64_t>& shape(const std::string& name) { return tensors_[index(name)].shape; }
  template <class T>
  void set(const std::string& name, size_t element, T value) {
    std::memcpy(bytes_[index(name)].data() + element * sizeof(T), &value, sizeof(T));
  }

  std::string path() const override { return "memory"; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override { std::memcpy(dst, bytes_[i].data(), bytes_[i].size()); }

 private:
  std::vector<SourceTensor> tensors_;
  std::vector<std::vector<std::byte>> bytes_;
};

}  // namespace sy::testing
