// Operands whose elements are a function of their index: normal values of a given scale, rounded to bf16 so that every
// type holds the same ones. A reference needs no copy of an operand, whatever its size. The values repeat after a prime
// number of elements, so that no two rows of a matrix are equal.
#pragma once

#include "csrc/core/context.h"

namespace sy::bench {

class Pattern {
 public:
  Pattern(uint64_t seed, double scale);
  double operator()(int64_t i) const;
  // The first `count` elements of the shape in device memory.
  Tensor tensor(Context& ctx, Shape shape, DType dtype) const;

 private:
  int64_t offset_;
  double scale_;
};

}  // namespace sy::bench
