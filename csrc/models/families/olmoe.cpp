// OLMoE (Muennighoff et al. 2024, arXiv 2409.02060): every layer MoE, softmax over all experts, top-k; queries and keys
// are normed over all heads of a token together. Heads are hidden_size / num_attention_heads wide.
#include "csrc/models/family.h"

namespace sy {
namespace {

class Olmoe final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "OlmoeForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    HubJson model = take_model(hub, {{"rms_norm_eps", 1e-5}, {"max_position_embeddings", 4096}});
    const HubJson moe = {
        {"num_experts", take(hub, "num_experts", take(hub, "num_local_experts", 64))},
        {"num_experts_per_tok", take(hub, "num_experts_per_tok", 8)},
        {"moe_intermediate_size", take(model, "intermediate_size", 2048)},
        {"router", {{"type", "softmax_topk"}, {"norm_topk_prob", take(hub, "norm_topk_prob", false)}}}};
    return {{"model", model}, {"moe", moe}};
  }
  FamilyTraits traits() const override { return {.qk_norm = QkNormScope::kAllHeads}; }
  std::string why_not(Decoder& model) const override {
    for (const auto& why_not : {why_not_softmax_topk_experts, why_not_all_layers_moe})
      if (const std::string why = why_not(model); !why.empty()) return why;
    const ModelConfig& c = model.config();
    return c.head_size() * c.num_attention_heads == c.hidden_size ? "" : "model.head_dim";
  }
  HubJson hub_keys(Decoder& model) const override {
    HubJson out = model_keys(model.config());
    const moe::MoeLayer& layer = *model.moe_layers().front().moe;
    out.erase("head_dim");
    out["intermediate_size"] = model.moe_config().expert_intermediate_size(0);
    out["num_experts"] = layer.num_experts();
    out["num_experts_per_tok"] = model.moe_config().num_experts_per_tok;
    out["norm_topk_prob"] = *layer.router().hub_norm_topk_prob();
    return out;
  }
};

SY_REGISTER(Family, Olmoe, "olmoe", "OLMoE")

}  // namespace
}  // namespace sy
