// dots.llm1 (rednote 2025, arXiv 2506.05767): Qwen3's attention and DeepSeek-V3's experts (2024, arXiv 2412.19437):
// sigmoid scores with a selection bias, groups of experts, a shared expert, the first layers dense.
#include "csrc/models/family.h"

namespace sy {
namespace {

// Files count shared experts of the routed ones' width; ours are one that is as wide as all together.
HubJson shared_width(const HubJson& shared_experts, const HubJson& width) {
  constexpr int64_t kMost = 1 << 24;
  for (const HubJson& factor : {shared_experts, width})
    if (!factor.is_number_integer() || factor < 1 || factor > kMost)
      user_error("n_shared_experts is {} and moe_intermediate_size {}, but both must be whole numbers from 1 to {}",
                 shared_experts.dump(), width.dump(), kMost);
  return shared_experts.get<int64_t>() * width.get<int64_t>();
}

class Dots1 final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "Dots1ForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    HubJson model =
        take_model(hub, {{"num_key_value_heads", 32}, {"rms_norm_eps", 1e-6}, {"max_position_embeddings", 2048}});
    const HubJson width = take(hub, "moe_intermediate_size", 1408), dense = take(hub, "first_k_dense_replace", 0);
    if (dense == 0) model.erase("intermediate_size");  // which only dense layers have
    HubJson router = {{"type", "sigmoid_topk"}, {"norm_topk_prob", take(hub, "norm_topk_prob", false)}};
    for (const char* key : {"n_group", "topk_group"}) router[key] = take(hub, key, 1);
    router["routed_scaling_factor"] = take(hub, "routed_scaling_factor", 1.0);
    HubJson moe = {{"first_k_dense_replace", dense},
                   {"moe_intermediate_size", width},
                   {"shared_expert_intermediate_size", shared_width(take(hub, "n_shared_experts", nullptr), width)},
                   {"router", router},
                   {"hooks", HubJson::array({{{"type", "selection_bias"}}})}};
    moe["num_experts"] = take(hub, "n_routed_experts", take(hub, "num_local_experts", nullptr));
    moe["num_experts_per_tok"] = take(hub, "num_experts_per_tok", nullptr);
    for (const char* key : {"num_experts", "num_experts_per_tok"})
      if (moe[key].is_null()) user_error("has no {}", key == std::string("num_experts") ? "n_routed_experts" : key);
    return {{"model", model}, {"moe", moe}};
  }
  FamilyTraits traits() const override {
    return {.qk_norm = QkNormScope::kHead, .shared_expert = SharedExpert::kPlain};
  }
  std::string why_not(Decoder& model) const override {
    if (const std::string why = why_not_uniform_experts(model); !why.empty()) return why;
    const MoeConfig& moe = model.moe_config();
    if (moe.methods.router.type() != "sigmoid_topk") return "moe.router: " + moe.methods.router.type();
    const auto& hooks = moe.methods.hooks.items();
    if (hooks.size() != 1 || hooks.front().type() != "selection_bias") return "moe.hooks: not selection_bias alone";
    const int64_t experts = model.moe_layers().front().moe->num_experts();
    if (experts / router_settings(moe).at("n_group").get<int64_t>() < 2) return "groups of one expert";
    for (int64_t layer = 0; layer < model.config().num_hidden_layers; ++layer)
      if ((moe.num_experts_in_layer(layer) == 0) != (layer < first_moe_layer(model)))
        return fmt::format("layer {} is dense behind an MoE layer", layer);
    return moe.shared_expert_intermediate_size % moe.expert_intermediate_size(0) == 0
               ? ""
               : "moe.shared_expert_intermediate_size is no multiple of moe_intermediate_size";
  }
  HubJson hub_keys(Decoder& model) const override {
    const MoeConfig& moe = model.moe_config();
    HubJson out = model_keys(model.config()), router = router_settings(moe);
    out["sliding_window"] = nullptr;
    out["n_routed_experts"] = model.moe_layers().front().moe->num_experts();
    out["num_experts_per_tok"] = moe.num_experts_per_tok;
    out["moe_intermediate_size"] = moe.expert_intermediate_size(0);
    out["n_shared_experts"] = moe.shared_expert_intermediate_size / moe.expert_intermediate_size(0);
    out["first_k_dense_replace"] = first_moe_layer(model);
    router.erase("type");
    out.update(router);
    return out;
  }

 private:
  static int64_t first_moe_layer(Decoder& model) { return model.moe_layers().front().layer; }
};

SY_REGISTER(Family, Dots1, "dots1", "dots.llm1")

}  // namespace
}  // namespace sy
