// Llama (Touvron et al. 2023, arXiv 2302.13971; Llama 3: 2024, arXiv 2407.21783): pre-norm decoder, rotary positions,
// grouped queries, SwiGLU. model_type llama is also what SmolLM, TinyLlama and others are saved as.
#include "csrc/models/family.h"

namespace sy {
namespace {

class Llama final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "LlamaForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return {{"model", take_model(hub, {{"rms_norm_eps", 1e-6}, {"max_position_embeddings", 2048}})}};
  }
  std::string why_not(Decoder& model) const override {
    if (const std::string why = why_not_dense(model); !why.empty()) return why;
    return model.config().hidden_size % model.config().num_attention_heads == 0
               ? ""
               : "model.hidden_size is no multiple of num_attention_heads";  // transformers refuses that
  }
  HubJson hub_keys(Decoder& model) const override { return model_keys(model.config()); }
};

SY_REGISTER(Family, Llama, "llama", "Llama 1 to 3 and what shares their architecture")

}  // namespace
}  // namespace sy
