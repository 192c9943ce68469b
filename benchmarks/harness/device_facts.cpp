#include "benchmarks/harness/device_facts.h"

#include <cstdio>
#include <ctime>

#include "csrc/core/device.h"
#include "trainer/doctor.h"
#include "trainer/session.h"

namespace sy::bench {

namespace {

// First line that nvidia-smi prints, "" without one: its library is not linked, so that builds need no driver.
std::string nvidia_smi(const std::string& query) {
  FILE* pipe = popen(("nvidia-smi --query-gpu=" + query + " --format=csv,noheader 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return "";
  char line[512] = "";
  const bool has_line = std::fgets(line, sizeof(line), pipe) != nullptr;
  if (pclose(pipe) != 0 || !has_line) return "";
  const std::string text = line;
  return text.substr(0, text.find('\n'));
}

}  // namespace

DeviceFacts device_facts(DeviceType device) {
  DeviceFacts facts{.cores = allowed_cpus(), .commit = SY_COMMIT};
  if (device == DeviceType::cuda) {
    facts.device = device_api::device_name();
    facts.driver = nvidia_smi("driver_version");
    facts.clocks = nvidia_smi("clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu,power.limit");
  } else {
    facts.device = cpu_value("model name");
  }
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
  facts.date = text;
  return facts;
}

}  // namespace sy::bench
