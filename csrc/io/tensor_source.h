// Named tensors that are read one at a time: what conversions read from, whatever the format of the files.
//
// A source announces every tensor with its shape and the type in which read() gives it: the narrowest of ours that
// holds the stored values exactly (f16 and quantised blocks: f32). Constructing a source checks its files; names, order
// and layout of the values are the format's own.
#pragma once

#include <string>
#include <vector>

#include "csrc/core/dtype.h"

namespace sy {

struct SourceTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // row-major, the last dimension contiguous
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual std::string path() const = 0;                          // what messages call it
  virtual const std::vector<SourceTensor>& tensors() const = 0;  // each name once
  // Sets dst to every element of tensors()[i], in its dtype.
  virtual void read(size_t i, void* dst) const = 0;
};

// Elements of one floating-point type in another, rounded once where it is narrower.
void convert_elements(DType from, const void* src, DType to, void* dst, int64_t count);

// The same elements in another type, rounded once where it is narrower. UserError if one of the types is an integer
// type and the other is not the same.
void read_as(const TensorSource& source, size_t i, DType dtype, void* dst);

}  // namespace sy
