// SY_LAUNCH: runs a kernel's body for the context's device, from the kernel's overload set.
//
//     SY_LAUNCH(ctx, rms_norm_forward, kernels::RmsNormForward<T>{.x = ..., ...});
//
// The args say their work() (kernels/work.h), which goes into a step's trace.
// On the meta device nothing runs, but kernels without a CUDA body are noted: a meta run of a config tells before the
// first step everything that `device.type: cuda` would miss, instead of failing in the middle of one.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "csrc/core/context.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy {

#if defined(SY_HAS_CUDA)
inline constexpr bool kHasCuda = true;
#else
inline constexpr bool kHasCuda = false;
#endif

// Names of the kernels launched so far on the meta device that have no CUDA body, sorted.
std::vector<std::string> kernels_without_cuda();
void note_kernel_without_cuda(const char* name);
void trace_compute(StepTrace& trace, const char* name, const kernels::Work& work);
[[noreturn]] void missing_cuda_body(const char* name);

template <class F, class Args>
void launch_on(Context& ctx, [[maybe_unused]] const char* name, const Args& args, F&& body) {
  if (ctx.trace != nullptr) trace_compute(*ctx.trace, name, args.work());
  switch (ctx.device()) {
    case DeviceType::meta:
      if constexpr (!std::is_invocable_v<F, kernels::Cuda, const Args&>) note_kernel_without_cuda(name);
      return;
    case DeviceType::cpu:
      body(kernels::Cpu{}, args);
      return;
    case DeviceType::cuda:
      if constexpr (kHasCuda && std::is_invocable_v<F, kernels::Cuda, const Args&>) {
        body(kernels::Cuda{ctx.stream()}, args);
        return;
      } else {
        missing_cuda_body(name);
      }
  }
}

}  // namespace sy

#define SY_LAUNCH(ctx, kernel, ...)                                                                  \
  ::sy::launch_on(ctx, #kernel, __VA_ARGS__,                                                         \
                  [](auto queue, const auto& args) -> decltype(::sy::kernels::kernel(queue, args)) { \
                    return ::sy::kernels::kernel(queue, args);                                       \
                  })
