// `switchyard train`: pretraining from a YAML file.
#pragma once

#include <string>
#include <vector>

#include "parallel/comm.h"
#include "trainer/stop_signals.h"

namespace sy {

// Returns the exit code: 0 done, 75 stopped on request after a checkpoint, 1 loss or gradient not finite.
int run_train(const std::string& config_path, const std::vector<std::string>& overrides, Comm& comm, StopSignals& signals);

}  // namespace sy
