#include "csrc/models/families/local_experts.h"

namespace sy {

HubJson local_experts_sections(HubJson& hub, const HubJson& defaults) {
  HubJson model = take_model(hub, defaults);
  const HubJson absent = defaults.at("num_local_experts");
  const HubJson moe = {{"num_experts", take(hub, "num_local_experts", take(hub, "num_experts", absent))},
                       {"num_experts_per_tok", take(hub, "num_experts_per_tok", defaults.at("num_experts_per_tok"))},
                       {"moe_intermediate_size", take(model, "intermediate_size", HubJson())},
                       {"router", {{"type", "softmax_topk"}, {"softmax", "after"}}}};
  return {{"model", model}, {"moe", moe}};
}

std::string why_not_local_experts(Decoder& model) {
  for (const auto& why_not : {why_not_softmax_topk_experts, why_not_all_layers_moe})
    if (const std::string why = why_not(model); !why.empty()) return why;
  return *model.moe_layers().front().moe->router().hub_norm_topk_prob() ? "" : "weights that are not renormalised";
}

HubJson local_experts_keys(Decoder& model) {
  HubJson out = model_keys(model.config());
  out["intermediate_size"] = model.moe_config().expert_intermediate_size(0);
  out["num_local_experts"] = model.moe_layers().front().moe->num_experts();
  out["num_experts_per_tok"] = model.moe_config().num_experts_per_tok;
  return out;
}

}  // namespace sy
