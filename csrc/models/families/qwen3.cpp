// Qwen3, dense (2025, arXiv 2505.09388): Llama's decoder with a norm of each query and key head.
#include "csrc/models/family.h"

namespace sy {
namespace {

class Qwen3 final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "Qwen3ForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return {{"model", take_model(hub, {{"num_key_value_heads", 32},
                                       {"head_dim", 128},
                                       {"rms_norm_eps", 1e-6},
                                       {"max_position_embeddings", 32768}})}};
  }
  FamilyTraits traits() const override { return {.qk_norm = QkNormScope::kHead}; }
  std::string why_not(Decoder& model) const override { return why_not_dense(model); }
  HubJson hub_keys(Decoder& model) const override { return model_keys(model.config()); }
};

SY_REGISTER(Family, Qwen3, "qwen3", "Qwen3, dense")

}  // namespace
}  // namespace sy
