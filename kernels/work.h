// Work: what a kernel does, from the sizes of its args alone, so that a model of its duration needs no data.
//
// Every args struct that SY_LAUNCH takes says its work(). Operands that are left out count as they do in training: on
// the meta device pointers are null whatever will be used. Bytes are those of each operand read or written once, the
// least that any body can do; flops those of matrix products, beside which elementwise arithmetic is free.
#pragma once

#include <cstdint>

namespace sy::kernels {

struct Work {
  double flops = 0;
  double bytes = 0;
  int64_t factor_bytes = 0;  // of one element of a product's factors: 2 bf16, 4 f32, 8 f64; 0 without a product
  bool operator==(const Work&) const = default;
};

// Of `count` elements of each of the types; a type stands once per pass over them.
template <class... T>
constexpr double bytes_of(int64_t count) {
  return static_cast<double>((sizeof(T) + ...)) * static_cast<double>(count);
}

// Of an [m,k] x [k,n] product: a multiplication and an addition per term.
constexpr double product_flops(int64_t m, int64_t n, int64_t k) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

}  // namespace sy::kernels
