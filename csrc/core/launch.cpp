#include "csrc/core/launch.h"

#include "csrc/core/step_trace.h"

#include <set>

namespace sy {

namespace {
std::set<std::string>& missing() {
  static std::set<std::string> names;
  return names;
}
}  // namespace

void note_kernel_without_cuda(const char* name) { missing().insert(name); }

std::vector<std::string> kernels_without_cuda() { return {missing().begin(), missing().end()}; }

void trace_compute(StepTrace& trace, const char* name, const kernels::Work& work) { trace.compute(name, work); }

void missing_cuda_body(const char* name) {
  user_error("device.type: cuda: kernel '{}' has no CUDA body in this build yet; set device.type: cpu", name);
}

}  // namespace sy
