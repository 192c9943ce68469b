// Mixtral (Jiang et al. 2024, arXiv 2401.04088): Llama's attention, every layer MoE, softmax over the selected logits.
// Files call a layer's experts block_sparse_moe, with w1 = gate, w3 = up, w2 = down.
#include "csrc/models/family.h"

namespace sy {
namespace {

class Mixtral final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "MixtralForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    HubJson model = take_model(
        hub,
        {{"num_key_value_heads", 8}, {"rms_norm_eps", 1e-5}, {"rope_theta", 1e6}, {"max_position_embeddings", 131072}});
    const HubJson moe = {{"num_experts", take(hub, "num_local_experts", take(hub, "num_experts", 8))},
                         {"num_experts_per_tok", take(hub, "num_experts_per_tok", 2)},
                         {"moe_intermediate_size", take(model, "intermediate_size", 14336)},
                         {"router", {{"type", "softmax_topk"}, {"softmax", "after"}}}};
    return {{"model", model}, {"moe", moe}};
  }
  FamilyTraits traits() const override { return {.window = true}; }
  std::string why_not(Decoder& model) const override {
    for (const auto& why_not : {why_not_softmax_topk_experts, why_not_all_layers_moe})
      if (const std::string why = why_not(model); !why.empty()) return why;
    return *model.moe_layers().front().moe->router().hub_norm_topk_prob() ? "" : "weights that are not renormalised";
  }
  HubJson hub_keys(Decoder& model) const override {
    HubJson out = model_keys(model.config());
    out["intermediate_size"] = model.moe_config().expert_intermediate_size(0);
    out["num_local_experts"] = model.moe_layers().front().moe->num_experts();
    out["num_experts_per_tok"] = model.moe_config().num_experts_per_tok;
    if (!out.contains("sliding_window")) out["sliding_window"] = nullptr;
    return out;
  }
  std::string name_in_file(const std::string& ours) const override {
    std::string name = replaced(ours, ".mlp.", ".block_sparse_moe.");
    for (const auto& [from, to] : {std::pair{"gate_proj", "w1"}, {"up_proj", "w3"}, {"down_proj", "w2"}})
      name = replaced(name, from, to);
    return name;
  }
};

SY_REGISTER(Family, Mixtral, "mixtral", "Mixtral")

}  // namespace
}  // namespace sy
