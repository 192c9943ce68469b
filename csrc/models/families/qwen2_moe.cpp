// Qwen2-MoE (2024, arXiv 2407.10671; Qwen1.5-MoE before it): Qwen2's attention, Qwen's experts, and a shared expert
// whose result each token weights by a sigmoid of its own.
#include "csrc/models/families/qwen_moe.h"

namespace sy {
namespace {

class Qwen2Moe final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "Qwen2MoeForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    if (const HubJson bias = take(hub, "qkv_bias", true); bias != true)
      user_error("qkv_bias is {}, which is not supported; only true is", bias.dump());
    HubJson sections = qwen_moe_sections(hub, {{"num_key_value_heads", 16},
                                               {"rms_norm_eps", 1e-6},
                                               {"max_position_embeddings", 32768},
                                               {"num_experts", 60},
                                               {"num_experts_per_tok", 4},
                                               {"moe_intermediate_size", 1408}});
    sections["moe"]["shared_expert_intermediate_size"] = take(hub, "shared_expert_intermediate_size", 5632);
    return sections;
  }
  FamilyTraits traits() const override { return {.qkv_bias = true, .shared_expert = SharedExpert::kGated}; }
  std::string why_not(Decoder& model) const override { return why_not_softmax_topk_experts(model); }
  HubJson hub_keys(Decoder& model) const override {
    HubJson out = qwen_moe_keys(model);
    out["qkv_bias"] = true;
    out["shared_expert_intermediate_size"] = model.moe_config().shared_expert_intermediate_size;
    return out;
  }
  std::string name_in_file(const std::string& ours) const override {
    return replaced(ours, ".mlp.shared_experts.", ".mlp.shared_expert.");
  }
};

SY_REGISTER(Family, Qwen2Moe, "qwen2_moe", "Qwen2-MoE and Qwen1.5-MoE")

}  // namespace
}  // namespace sy
