#include "trainer/doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "csrc/core/device.h"
#include "csrc/core/launch.h"
#include "parallel/device_comm.h"
#include "trainer/progress.h"
#include "trainer/session.h"

namespace sy {

std::string cpu_value(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key)) return line.substr(line.find(':') + 2);
  return "";
}

namespace {

bool cpu_has(const std::string& flag) {
  return (" " + cpu_value("flags") + " ").find(" " + flag + " ") != std::string::npos;
}

void row(const char* name, bool present, const std::string& detail) {
  fmt::print("  {:<4} {:<18} {}\n", present ? "yes" : "no", name, detail);
}

}  // namespace

int run_doctor() {
  fmt::print("switchyard {}\n\nmachine\n", SY_COMMIT);
  row("cpu", true, fmt::format("{}, {} cores for this process", cpu_value("model name"), allowed_cpus()));
  row("memory", true,
      format_bytes(static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE))));
  row("avx512", cpu_has("avx512f"),
      cpu_has("avx512f") ? "wide vector kernels" : "portable kernels: expect half the speed or less");
  row("avx512_bf16", cpu_has("avx512_bf16"),
      cpu_has("avx512_bf16") ? "bf16 products in hardware" : "train.dtype: bf16 works but is slower than f32");
  const int gpus = device_api::device_count();
  row("gpu", gpus > 0, gpus > 0 ? device_api::device_name() : "none found: device.type: cuda is not available");

  fmt::print("\nbuild\n");
#if defined(SY_HAS_MPI)
  row("MPI", true, "several ranks with mpirun");
#else
  row("MPI", false, "one rank only; install libopenmpi-dev and build again");
#endif
#if defined(SY_CUDA_SIM)
  row("CUDA", true, "simulated: the CUDA kernels run on the CPU, for tests only");
#else
  row("CUDA", kHasCuda,
      kHasCuda ? "device.type: cuda" : "device.type: cpu only; use `cmake --preset cuda` where nvcc is");
#endif
  const std::string why = why_no_nccl();
  row("NCCL", why.empty(),
      why.empty() ? "GPU memory travels between ranks directly"
                  : fmt::format("{}; GPU memory travels between ranks through the host and MPI", why));
  return 0;
}

}  // namespace sy
