// Tensor: shared storage, element type, shape, device; contiguous and row-major; sizes and offsets are int64_t.
//
// Copying a Tensor shares its storage. Views exist only as slice() on dimension 0 and reshape(). On the meta device
// there is no memory: data() is null and kernels are not launched.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "csrc/core/allocator.h"
#include "csrc/core/dtype.h"

namespace sy {

using Shape = std::vector<int64_t>;
int64_t shape_count(const Shape& shape);
std::string shape_string(const Shape& shape);

// One block of device memory; returns it to its allocator when the last tensor lets go.
class Storage {
 public:
  Storage(Allocator& allocator, int64_t bytes, MemoryKind kind)
      : allocator_(allocator), bytes_(bytes), kind_(kind), data_(allocator.allocate(bytes, kind)) {}
  ~Storage() { allocator_.free(data_, bytes_, kind_); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  void* data() const { return data_; }
  DeviceType device() const { return allocator_.device(); }

 private:
  Allocator& allocator_;
  int64_t bytes_;
  MemoryKind kind_;
  void* data_;
};

class Tensor {
 public:
  Tensor() = default;
  Tensor(Allocator& allocator, Shape shape, DType dtype, MemoryKind kind);

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  DeviceType device() const { return storage_->device(); }
  const Shape& shape() const { return shape_; }
  int64_t dim(int64_t i) const;           // negative i counts from the end
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * dtype_bytes(dtype_); }
  // True when nobody else holds this storage, so that it may be overwritten.
  bool unique() const { return storage_.use_count() == 1; }

  // The elements; T must be the tensor's type. Null on the meta device.
  template <class T>
  T* data() const {
    SY_CHECK(dtype_of<T>() == dtype_, "a {} tensor read as {}", dtype_name(dtype_), dtype_name(dtype_of<T>()));
    return static_cast<T*>(raw());
  }
  void* raw() const;

  // Rows [begin, end) of dimension 0; shares storage.
  Tensor slice(int64_t begin, int64_t end) const;
  // The same elements under another shape of equal count; shares storage.
  Tensor reshape(Shape shape) const;

 private:
  std::shared_ptr<Storage> storage_;
  int64_t offset_bytes_ = 0;
  int64_t count_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace sy
