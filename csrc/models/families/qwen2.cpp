// Qwen2, dense (2024, arXiv 2407.10671): Llama's decoder with biases on queries, keys and values.
#include "csrc/models/family.h"

namespace sy {
namespace {

class Qwen2 final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "Qwen2ForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return {
        {"model",
         take_model(hub, {{"num_key_value_heads", 32}, {"rms_norm_eps", 1e-6}, {"max_position_embeddings", 32768}})}};
  }
  FamilyTraits traits() const override { return {.qkv_bias = true}; }
  std::string why_not(Decoder& model) const override { return why_not_dense(model); }
  HubJson hub_keys(Decoder& model) const override { return model_keys(model.config()); }
};

SY_REGISTER(Family, Qwen2, "qwen2", "Qwen2 and Qwen2.5, dense")

}  // namespace
}  // namespace sy
