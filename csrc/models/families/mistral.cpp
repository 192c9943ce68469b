// Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama's decoder whose tokens see the last sliding_window keys only.
// One without a window is Llama's model, and goes out as one where transformers' Llama allows its heads.
#include "csrc/models/family.h"

namespace sy {
namespace {

class Mistral final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "MistralForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return {{"model", take_model(hub, {{"num_key_value_heads", 8},
                                       {"rms_norm_eps", 1e-6},
                                       {"max_position_embeddings", 131072},
                                       {"sliding_window", 4096}})}};
  }
  FamilyTraits traits() const override { return {.window = true}; }
  std::string why_not(Decoder& model) const override { return why_not_dense(model); }
  HubJson hub_keys(Decoder& model) const override {
    HubJson out = model_keys(model.config());
    if (!out.contains("sliding_window")) out["sliding_window"] = nullptr;  // left out it would be 4096
    return out;
  }
};

SY_REGISTER(Family, Mistral, "mistral", "Mistral 7B and what shares its architecture")

}  // namespace
}  // namespace sy
