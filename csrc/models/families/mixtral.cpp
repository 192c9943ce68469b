// Mixtral (Jiang et al. 2024, arXiv 2401.04088): Mistral's attention, every layer MoE, softmax over the selected
// logits. Files call a layer's experts block_sparse_moe, with w1 = gate, w3 = up, w2 = down.
#include "csrc/models/families/local_experts.h"

namespace sy {
namespace {

class Mixtral final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "MixtralForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return local_experts_sections(hub, {{"intermediate_size", 14336},
                                        {"num_key_value_heads", 8},
                                        {"rms_norm_eps", 1e-5},
                                        {"rope_theta", 1e6},
                                        {"max_position_embeddings", 131072},
                                        {"num_local_experts", 8},
                                        {"num_experts_per_tok", 2}});
  }
  FamilyTraits traits() const override { return {.window = true}; }
  std::string why_not(Decoder& model) const override { return why_not_local_experts(model); }
  HubJson hub_keys(Decoder& model) const override {
    HubJson out = local_experts_keys(model);
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
