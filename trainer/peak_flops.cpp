#include "trainer/peak_flops.h"

#include <algorithm>
#include <chrono>

#include "csrc/core/device.h"
#include "csrc/ops/matmul.h"

namespace sy {

namespace {

struct Sheet {
  const char* name;
  double bf16, f32, f64;
};
// Dense tensor-core bf16, plain f32 and f64 TFLOP/s from the vendors' data sheets (SXM parts).
constexpr Sheet kSheets[] = {{"H100", 989, 67, 67}, {"H200", 989, 67, 67}, {"A100", 312, 19.5, 19.5}, {"B200", 2250, 80, 40}};

double cpu_peak(Context& ctx, DType dtype) {
  constexpr int64_t kSize = 1024;
  const Tensor a = ctx.zeros({kSize, kSize}, dtype, MemoryKind::workspace), b = ctx.zeros({kSize, kSize}, dtype, MemoryKind::workspace);
  const Tensor c = ctx.empty({kSize, kSize}, dtype, MemoryKind::workspace);
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    ops::matmul(ctx, a, b, c, {.transpose_b = true});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, 2.0 * kSize * kSize * kSize / seconds.count() * 1e-12);
  }
  return best;
}

}  // namespace

double measured_peak_tflops(Context& ctx, DType dtype) {
  constexpr double kUnknown = 1e9;
  if (ctx.device() == DeviceType::cpu) return cpu_peak(ctx, dtype);
  if (ctx.device() != DeviceType::cuda) return kUnknown;
  const std::string name = device_api::device_name();
  for (const Sheet& sheet : kSheets)
    if (name.find(sheet.name) != std::string::npos)
      return dtype == DType::bf16 ? sheet.bf16 : dtype == DType::f64 ? sheet.f64 : sheet.f32;
  return kUnknown;
}

}  // namespace sy
