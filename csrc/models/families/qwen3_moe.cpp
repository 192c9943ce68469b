// Qwen3-MoE (2025, arXiv 2505.09388): Qwen3's attention; softmax over all experts, top-k, weights renormalised or not.
// Layer i is MoE where i + 1 is a multiple of decoder_sparse_step and i is not in mlp_only_layers.
#include <algorithm>

#include "csrc/models/family.h"

namespace sy {
namespace {

class Qwen3Moe final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "Qwen3MoeForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    HubJson model =
        take_model(hub, {{"num_key_value_heads", 4}, {"rms_norm_eps", 1e-6}, {"max_position_embeddings", 32768}});
    const HubJson experts = take(hub, "num_experts", take(hub, "num_local_experts", 128));
    const HubJson step = take(hub, "decoder_sparse_step", 1);
    const HubJson dense = take(hub, "mlp_only_layers", HubJson::array());
    HubJson moe = {{"num_experts_per_tok", take(hub, "num_experts_per_tok", 8)},
                   {"moe_intermediate_size", take(hub, "moe_intermediate_size", 768)},
                   {"router", {{"type", "softmax_topk"}, {"norm_topk_prob", take(hub, "norm_topk_prob", false)}}}};
    if (step == 1 && dense.empty()) {
      moe["num_experts"] = experts;
      model.erase("intermediate_size");  // which only dense layers have
      return {{"model", model}, {"moe", moe}};
    }
    if (!step.is_number_integer() || step < 1)
      user_error("decoder_sparse_step is {}, but must be at least 1", step.dump());
    // No list for a number of layers that the reader of the sections will refuse.
    const HubJson num_layers = model.value("num_hidden_layers", HubJson());
    const bool is_count = num_layers.is_number_integer() && num_layers <= 1 << 16;
    const int64_t layers = is_count ? num_layers.get<int64_t>() : 0;
    HubJson& counts = moe["num_experts_per_layer"] = HubJson::array();
    for (int64_t i = 0; i < layers; ++i) {
      const bool is_dense = std::find(dense.begin(), dense.end(), i) != dense.end();
      counts.push_back(!is_dense && (i + 1) % step.get<int64_t>() == 0 ? experts : HubJson(0));
    }
    return {{"model", model}, {"moe", moe}};
  }
  AttentionTraits attention() const override { return {.qk_norm = QkNormScope::kHead}; }
  std::string why_not(Decoder& model) const override { return why_not_softmax_topk_experts(model); }
  HubJson hub_keys(Decoder& model) const override {
    HubJson out = model_keys(model.config());
    const moe::MoeLayer& layer = *model.moe_layers().front().moe;
    HubJson dense = HubJson::array();
    for (int64_t i = 0; i < model.config().num_hidden_layers; ++i)
      if (model.moe_config().num_experts_in_layer(i) == 0) dense.push_back(i);
    out["num_experts"] = layer.num_experts();
    out["num_experts_per_tok"] = model.moe_config().num_experts_per_tok;
    out["moe_intermediate_size"] = model.moe_config().expert_intermediate_size(0);
    out["norm_topk_prob"] = *layer.router().hub_norm_topk_prob();
    out["decoder_sparse_step"] = 1;
    out["mlp_only_layers"] = dense;
    return out;
  }
};

SY_REGISTER(Family, Qwen3Moe, "qwen3_moe", "Qwen3-MoE")

}  // namespace
}  // namespace sy
