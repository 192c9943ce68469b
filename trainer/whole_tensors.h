// The parameters and gradients of a model that the ranks of a mesh share, put together: for the comparison of layouts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "csrc/models/decoder.h"

namespace sy {

// Values by Hugging Face name, widened (exactly) to f64. Every rank of ctx's mesh calls and gets all of it.
using NamedValues = std::map<std::string, std::vector<double>>;

// Exact values: masters where values are rounded.
NamedValues whole_parameters(Context& ctx, Decoder& decoder);
// After DataParallel::finish_gradients, so that each rank's share holds the sums over ranks.
NamedValues whole_gradients(Context& ctx, Decoder& decoder);

}  // namespace sy
