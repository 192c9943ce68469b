// Qwen3-MoE (2025, arXiv 2505.09388): Qwen3's attention, Qwen's experts.
#include "csrc/models/families/qwen_moe.h"

namespace sy {
namespace {

class Qwen3Moe final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "Qwen3MoeForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return qwen_moe_sections(hub, {{"num_key_value_heads", 4},
                                   {"rms_norm_eps", 1e-6},
                                   {"max_position_embeddings", 32768},
                                   {"num_experts", 128},
                                   {"num_experts_per_tok", 8},
                                   {"moe_intermediate_size", 768}});
  }
  FamilyTraits traits() const override { return {.qk_norm = QkNormScope::kHead}; }
  std::string why_not(Decoder& model) const override { return why_not_softmax_topk_experts(model); }
  HubJson hub_keys(Decoder& model) const override { return qwen_moe_keys(model); }
};

SY_REGISTER(Family, Qwen3Moe, "qwen3_moe", "Qwen3-MoE")

}  // namespace
}  // namespace sy
