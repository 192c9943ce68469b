// Element types of tensors, files and checkpoints, and their sizes and names.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "csrc/core/check.h"
#include "kernels/types.h"

namespace sy {

enum class DType : uint8_t { f32, bf16, f64, i32, i64, u8 };

inline constexpr std::array<DType, 6> kDTypes = {DType::f32, DType::bf16, DType::f64,
                                                 DType::i32, DType::i64,  DType::u8};

constexpr int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return 2;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
  }
  return 0;
}

// The name used in YAML, checkpoints and messages.
constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
  }
  return "invalid";
}

// The inverse of dtype_name; UserError for any other text.
inline DType dtype_from_name(std::string_view name) {
  for (const DType dtype : kDTypes) {
    if (name == dtype_name(dtype)) return dtype;
  }
  user_error("unknown dtype '{}': use one of f32, bf16, f64, i32, i64, u8", name);
}

// The DType that stores a C++ type; other types do not compile.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return DType::f32;
  } else if constexpr (std::is_same_v<T, bf16>) {
    return DType::bf16;
  } else if constexpr (std::is_same_v<T, double>) {
    return DType::f64;
  } else if constexpr (std::is_same_v<T, int32_t>) {
    return DType::i32;
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return DType::i64;
  } else {
    static_assert(std::is_same_v<T, uint8_t>, "no DType stores this type");
    return DType::u8;
  }
}

// The type in which sums over `type`, gradients of parameters and router state are kept.
constexpr DType accumulation_dtype(DType type) { return type == DType::f64 ? DType::f64 : DType::f32; }

// Calls f.template operator()<T>() with T = float, bf16 or double.
template <class F>
decltype(auto) dispatch_float(DType type, F&& f) {
  switch (type) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::bf16:
      return f.template operator()<bf16>();
    case DType::f64:
      return f.template operator()<double>();
    default:
      throw Error(fmt::format("no floating-point kernel for {}", dtype_name(type)));
  }
}

// Calls f.template operator()<T>() with the C++ type of any element.
template <class F>
decltype(auto) dispatch_any(DType type, F&& f) {
  switch (type) {
    case DType::i32:
      return f.template operator()<int32_t>();
    case DType::i64:
      return f.template operator()<int64_t>();
    case DType::u8:
      return f.template operator()<uint8_t>();
    default:
      return dispatch_float(type, f);
  }
}

// Calls f.template operator()<A>() with A = float or double: for tensors in an accumulation type.
template <class F>
decltype(auto) dispatch_accumulation(DType type, F&& f) {
  switch (type) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    default:
      throw Error(fmt::format("{} is not an accumulation type", dtype_name(type)));
  }
}

}  // namespace sy
