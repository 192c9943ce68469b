// Element types of tensors and files, and the switch from a run-time type to a compile-time one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "csrc/core/check.h"
#include "kernels/types.h"

namespace sy {

enum class DType : uint8_t { f32, bf16, f64, i32, i64, u8 };

constexpr int64_t dtype_bytes(DType type) {
  switch (type) {
    case DType::f32: return 4;
    case DType::bf16: return 2;
    case DType::f64: return 8;
    case DType::i32: return 4;
    case DType::i64: return 8;
    case DType::u8: return 1;
  }
  return 0;
}

constexpr const char* dtype_name(DType type) {
  switch (type) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f64: return "f64";
    case DType::i32: return "i32";
    case DType::i64: return "i64";
    case DType::u8: return "u8";
  }
  return "?";
}

inline DType dtype_from_name(std::string_view name) {
  for (const DType type : {DType::f32, DType::bf16, DType::f64, DType::i32, DType::i64, DType::u8})
    if (name == dtype_name(type)) return type;
  throw UserError(fmt::format("'{}' is not an element type; use f32, bf16, f64, i32, i64 or u8", name));
}

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() { return DType::f32; }
template <>
constexpr DType dtype_of<bf16>() { return DType::bf16; }
template <>
constexpr DType dtype_of<double>() { return DType::f64; }
template <>
constexpr DType dtype_of<int32_t>() { return DType::i32; }
template <>
constexpr DType dtype_of<int64_t>() { return DType::i64; }
template <>
constexpr DType dtype_of<uint8_t>() { return DType::u8; }

// The type in which sums over `type`, gradients of parameters and router state are kept.
constexpr DType accumulation_dtype(DType type) { return type == DType::f64 ? DType::f64 : DType::f32; }

// Calls f.template operator()<T>() with T = float, bf16 or double.
template <class F>
decltype(auto) dispatch_float(DType type, F&& f) {
  switch (type) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    case DType::f64: return f.template operator()<double>();
    default: throw Error(fmt::format("no floating-point kernel for {}", dtype_name(type)));
  }
}

// Calls f.template operator()<A>() with A = float or double: for tensors in an accumulation type.
template <class F>
decltype(auto) dispatch_accumulation(DType type, F&& f) {
  switch (type) {
    case DType::f32: return f.template operator()<float>();
    case DType::f64: return f.template operator()<double>();
    default: throw Error(fmt::format("{} is not an accumulation type", dtype_name(type)));
  }
}

}  // namespace sy
