// Granite 3, dense (IBM 2024): Llama's decoder with constants on embeddings, residual branches, attention scores and
// logits, as in the maximal update parametrisation (Yang et al. 2022, arXiv 2203.03466).
#include "csrc/models/family.h"

namespace sy {
namespace {

class Granite final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "GraniteForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return {{"model", take_model(hub, {{"rms_norm_eps", 1e-6}, {"max_position_embeddings", 2048}})}};
  }
  FamilyTraits traits() const override { return {.multipliers = true}; }
  std::string why_not(Decoder& model) const override { return why_not_dense(model); }
  HubJson hub_keys(Decoder& model) const override { return model_keys(model.config()); }
};

SY_REGISTER(Family, Granite, "granite", "Granite 3, dense")

}  // namespace
}  // namespace sy
