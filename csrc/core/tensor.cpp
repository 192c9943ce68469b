#include "csrc/core/tensor.h"

#include <fmt/ranges.h>

namespace sy {

int64_t shape_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t n : shape) {
    SY_CHECK(n >= 0, "negative dimension in shape {}", shape_string(shape));
    SY_CHECK(n == 0 || count <= INT64_MAX / n, "shape {} has more than 2^63 elements", shape_string(shape));
    count *= n;
  }
  return count;
}

std::string shape_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Tensor::Tensor(Allocator& allocator, Shape shape, DType dtype, MemoryKind kind)
    : count_(shape_count(shape)), shape_(std::move(shape)), dtype_(dtype) {
  storage_ = std::make_shared<Storage>(allocator, count_ * dtype_bytes(dtype), kind);
}

int64_t Tensor::dim(int64_t i) const {
  const auto rank = static_cast<int64_t>(shape_.size());
  const int64_t j = i < 0 ? i + rank : i;
  SY_CHECK(j >= 0 && j < rank, "dimension {} of a tensor of shape {}", i, shape_string(shape_));
  return shape_[static_cast<std::size_t>(j)];
}

void* Tensor::raw() const {
  SY_CHECK(defined(), "an undefined tensor was read");
  auto* base = static_cast<char*>(storage_->data());
  return base == nullptr ? nullptr : base + offset_bytes_;
}

Tensor Tensor::slice(int64_t begin, int64_t end) const {
  SY_CHECK(!shape_.empty() && begin >= 0 && begin <= end && end <= shape_[0], "slice [{}, {}) of shape {}", begin, end,
           shape_string(shape_));
  const int64_t row = shape_[0] == 0 ? 0 : count_ / shape_[0];
  Tensor view = *this;
  view.shape_[0] = end - begin;
  view.count_ = row * (end - begin);
  view.offset_bytes_ += begin * row * dtype_bytes(dtype_);
  return view;
}

Tensor Tensor::reshape(Shape shape) const {
  SY_CHECK(shape_count(shape) == count_, "reshape of {} to {}", shape_string(shape_), shape_string(shape));
  Tensor view = *this;
  view.shape_ = std::move(shape);
  return view;
}

}  // namespace sy
