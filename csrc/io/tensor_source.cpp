#include "csrc/io/tensor_source.h"

#include <algorithm>

#include "csrc/io/safetensors.h"

namespace sy {

void convert_elements(DType from, const void* src, DType to, void* dst, int64_t count) {
  dispatch_float(from, [&]<class From>() {
    const auto* first = static_cast<const From*>(src);
    dispatch_float(to, [&]<class To>() {
      std::transform(first, first + count, static_cast<To*>(dst), [](From x) { return static_cast<To>(x); });
    });
  });
}

void read_as(const TensorSource& source, size_t i, DType dtype, void* dst) {
  const SourceTensor& tensor = source.tensors().at(i);
  if (tensor.dtype == dtype) return source.read(i, dst);
  const auto is_float = [](DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f64; };
  if (!is_float(tensor.dtype) || !is_float(dtype))
    user_error("'{}': tensor '{}' is {}, the model needs {}", source.path(), tensor.name, dtype_name(tensor.dtype),
               dtype_name(dtype));
  const int64_t count = element_count(tensor.shape);
  std::vector<std::byte> stored(static_cast<size_t>(count * dtype_bytes(tensor.dtype)));
  source.read(i, stored.data());
  convert_elements(tensor.dtype, stored.data(), dtype, dst, count);
}

}  // namespace sy
