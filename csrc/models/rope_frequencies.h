// Rotary frequencies  inv_freq[i] = theta^(-2i / head_dim),  stretched for longer contexts (RopeScalingConfig).
#pragma once

#include <vector>

#include "csrc/models/model_config.h"

namespace sy {

std::vector<double> rope_frequencies(int64_t head_dim, double theta, const RopeScalingConfig& scaling);

}  // namespace sy
