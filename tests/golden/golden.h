// Golden files (tests/golden/ops/*.safetensors, written by scripts/goldens from PyTorch in f64): loading into tensors
// of a context, and comparison by relative norm and by the largest element.
//
// Floats are stored as f32, and inputs are values that f32 holds exactly: a body in f32 or f64 reads what PyTorch read.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "csrc/core/context.h"
#include "csrc/io/safetensors.h"

namespace sy::golden {

// Relative bounds of the norm of all differences, and of the largest difference over the largest value.
struct Bounds {
  double norm, largest;
};

inline Bounds bounds_of(DType type) {
  switch (type) {
    case DType::f64:
      return {1e-7, 1e-7};  // the files round to f32, 2^-24 = 6e-8 relative
    case DType::bf16:
      // bf16 keeps 8 bits: every rounding is off by up to 2^-9 of its value, and inputs, intermediate values and the
      // result are all rounded. Four such errors in the norm; in one element a sum of several inputs' errors.
      return {8e-3, 2e-2};
    default:
      return {1e-5, 1e-5};
  }
}

// Elements of a floating or integer tensor as f64.
inline std::vector<double> widened(Context& ctx, const Tensor& t) {
  std::vector<double> out;
  const auto widen = [&](const auto& values) {
    for (const auto v : values) out.push_back(static_cast<double>(v));
  };
  switch (t.dtype()) {
    case DType::f32:
      widen(ctx.to_host<float>(t));
      break;
    case DType::bf16:
      for (const bf16 v : ctx.to_host<bf16>(t)) out.push_back(static_cast<double>(static_cast<float>(v)));
      break;
    case DType::f64:
      widen(ctx.to_host<double>(t));
      break;
    case DType::i32:
      widen(ctx.to_host<int32_t>(t));
      break;
    case DType::i64:
      widen(ctx.to_host<int64_t>(t));
      break;
    case DType::u8:
      widen(ctx.to_host<uint8_t>(t));
      break;
  }
  return out;
}

// A tensor of `type` with the given values, rounded.
inline Tensor rounded(Context& ctx, const std::vector<double>& values, const Shape& shape, DType type) {
  Tensor t = ctx.empty(shape, type, MemoryKind::data);
  dispatch_float(type, [&]<class T>() {
    std::vector<T> typed(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if constexpr (std::is_same_v<T, bf16>) typed[i] = bf16(static_cast<float>(values[i]));
      else typed[i] = static_cast<T>(values[i]);
    }
    SY_CHECK(t.count() == static_cast<int64_t>(typed.size()), "{} values for {}", typed.size(), shape_string(shape));
    ctx.copy_from_host(t, typed.data());
  });
  return t;
}

inline void expect_close(const std::vector<double>& got, const std::vector<double>& want, const Bounds& bounds,
                         const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  ASSERT_FALSE(want.empty()) << what << ": nothing to compare";
  double error = 0, norm = 0, worst = 0, largest = 0;
  std::size_t worst_at = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(got[i] - want[i]);
    ASSERT_TRUE(std::isfinite(difference)) << what << "[" << i << "]: got " << got[i] << ", want " << want[i];
    error += difference * difference;
    norm += want[i] * want[i];
    largest = std::max(largest, std::abs(want[i]));
    if (difference > worst) worst = difference, worst_at = i;
  }
  EXPECT_LE(std::sqrt(error), bounds.norm * std::sqrt(norm))
      << what << ": relative norm of the differences " << std::sqrt(error / norm);
  EXPECT_LE(worst, bounds.largest * largest)
      << what << "[" << worst_at << "]: got " << got[worst_at] << ", want " << want[worst_at];
}

// One golden file. Missing names are errors that name the file.
class Golden {
 public:
  Golden(Context& ctx, const std::string& name)
      : ctx_(ctx), reader_(std::string(SY_SOURCE_DIR "/tests/golden/ops/") + name + ".safetensors") {}

  // A float tensor in the given type.
  Tensor load(const std::string& name, DType type) const {
    return rounded(ctx_, values(name), reader_.view(name).shape, type);
  }
  // An integer or mask tensor as stored.
  Tensor load(const std::string& name) const {
    const TensorView view = reader_.view(name);
    SY_CHECK(view.dtype == DType::i32 || view.dtype == DType::u8, "'{}' is {}", name, dtype_name(view.dtype));
    Tensor t = ctx_.empty(view.shape, view.dtype, MemoryKind::data);
    std::vector<std::byte> aligned(static_cast<std::size_t>(t.bytes()));
    std::memcpy(aligned.data(), view.data, aligned.size());
    ctx_.copy_from_host(t, aligned.data());
    return t;
  }
  std::vector<double> values(const std::string& name) const {
    const TensorView view = reader_.view(name);
    SY_CHECK(view.dtype == DType::f32, "'{}' is {}", name, dtype_name(view.dtype));
    std::vector<float> stored(static_cast<std::size_t>(element_count(view.shape)));
    std::memcpy(stored.data(), view.data, stored.size() * sizeof(float));
    return {stored.begin(), stored.end()};
  }
  // Numbers of the file's metadata.
  double number(const std::string& key) const {
    const auto it = reader_.metadata().find(key);
    SY_CHECK(it != reader_.metadata().end(), "{} has no parameter '{}'", reader_.path(), key);
    return std::stod(it->second);
  }
  int64_t integer(const std::string& key) const { return static_cast<int64_t>(number(key)); }

  // `got`, computed with elements of `type` on the way, against the file's tensor `name`.
  void expect(const std::string& name, const Tensor& got, DType type) const {
    ASSERT_TRUE(got.defined()) << name;
    expect_close(widened(ctx_, got), values(name), bounds_of(type), name);
  }
  // Integers: exactly.
  void expect_equal(const std::string& name, const Tensor& got) const {
    EXPECT_EQ(widened(ctx_, got), widened(ctx_, load(name))) << name;
  }

 private:
  Context& ctx_;
  SafetensorsReader reader_;
};

}  // namespace sy::golden
