// Fixture F1 as seen by a whole layer: four tokens, four experts, and the logits
//   [2 1 0 -1] [0 3 1 0] [1 1.5 -0.5 0.5] [-1 0 2 1]
// The router's weight is the identity and x the logits, so that routers, capacity and losses see exactly these.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/conformance/layer_rig.h"

namespace sy::test {

using Doubles = std::vector<double>;
using Ints = std::vector<int32_t>;

inline const Doubles kF1Logits = {2, 1, 0, -1, 0, 3, 1, 0, 1, 1.5, -0.5, 0.5, -1, 0, 2, 1};
inline const Doubles kF1RouterWeight = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};

// Four experts of width 3, two per token, with overrides.
MoeConfig f1_moe(const std::vector<std::string>& overrides);

// The layer on F1, or on `tokens` of its rows from `first` on; the batch is all of F1 either way.
std::unique_ptr<LayerRig> f1_layer(const std::vector<std::string>& overrides, int64_t first = 0, int64_t tokens = 4);

// The message of the UserError that building or running the layer gives; "accepted" without one.
std::string f1_refusal(const std::vector<std::string>& overrides);

// Four values of one token.
Doubles row_of(const Doubles& values, int64_t token);
void expect_near(const Doubles& got, const Doubles& want, double tolerance = 1e-6);
// FFN_e(x) of one token, from the parameters of the bank of a rig made by f1_layer.
Doubles expert_output(LayerRig& rig, int64_t expert, const Doubles& x);

}  // namespace sy::test
