// What a result must say about where it was made.
#pragma once

#include <string>

#include "csrc/core/context.h"

namespace sy::bench {

struct DeviceFacts {
  std::string device = {};  // name of the GPU or CPU
  std::string driver = {};  // of the GPU, "" on the CPU or where nvidia-smi is missing
  std::string clocks =
      {};             // SM and memory clock, temperature and power limit at the time, as nvidia-smi says them; or ""
  int64_t cores = 0;  // CPU cores of this process
  std::string commit = {};
  std::string date = {};  // UTC
};

DeviceFacts device_facts(DeviceType device);

}  // namespace sy::bench
