// What Mixtral and Granite-MoE share: every layer is MoE, softmax over the selected logits, num_local_experts experts
// of intermediate_size.
#pragma once

#include "csrc/models/family.h"

namespace sy {

// The sections; `defaults` are transformers', of the model and of num_local_experts and num_experts_per_tok.
HubJson local_experts_sections(HubJson& hub, const HubJson& defaults);
std::string why_not_local_experts(Decoder& model);
HubJson local_experts_keys(Decoder& model);

}  // namespace sy
