#include "csrc/io/tensor_source.h"

#include <algorithm>

#include "csrc/io/safetensors.h"

namespace sy {

void read_as(const TensorSource& source, size_t i, DType dtype, void* dst) {
  const SourceTensor& tensor = source.tensors().at(i);
  if (tensor.dtype == dtype) return source.read(i, dst);
  const auto is_float = [](DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f64; };
  if (!is_float(tensor.dtype) || !is_float(dtype))
    user_error("'{}': tensor '{}' is {}, the model needs {}", source.path(), tensor.name, dtype_name(tensor.dtype),
               dtype_name(dtype));
  const int64_t count = element_count(tensor.shape);
  dispatch_float(tensor.dtype, [&]<class From>() {
    std::vector<From> stored(static_cast<size_t>(count));
    source.read(i, stored.data());
    dispatch_float(dtype, [&]<class To>() {
      std::transform(stored.begin(), stored.end(), static_cast<To*>(dst), [](From x) { return static_cast<To>(x); });
    });
  });
}

}  // namespace sy
