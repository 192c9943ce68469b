// What Qwen2-MoE and Qwen3-MoE share: softmax over all experts, top-k, weights renormalised or not; layer i is MoE
// where i + 1 is a multiple of decoder_sparse_step and i is not in mlp_only_layers.
#pragma once

#include "csrc/models/family.h"

namespace sy {

// The sections; `defaults` are transformers', of the model and of num_experts, num_experts_per_tok and
// moe_intermediate_size.
HubJson qwen_moe_sections(HubJson& hub, const HubJson& defaults);
HubJson qwen_moe_keys(Decoder& model);

}  // namespace sy
