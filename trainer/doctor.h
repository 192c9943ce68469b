// `switchyard doctor`: what this build and this machine can do, and what each missing piece costs.
#pragma once

#include <string>

namespace sy {

int run_doctor();

// Value of the first line of /proc/cpuinfo that begins with `key`; "" if there is none.
std::string cpu_value(const std::string& key);

}  // namespace sy
