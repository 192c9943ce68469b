#include "csrc/models/families/qwen_moe.h"

#include <algorithm>

namespace sy {

HubJson qwen_moe_sections(HubJson& hub, const HubJson& defaults) {
  HubJson model = take_model(hub, defaults);
  const HubJson experts = take(hub, "num_experts", take(hub, "num_local_experts", defaults.at("num_experts")));
  const HubJson step = take(hub, "decoder_sparse_step", 1);
  const HubJson dense = take(hub, "mlp_only_layers", HubJson::array());
  HubJson moe = {{"num_experts_per_tok", take(hub, "num_experts_per_tok", defaults.at("num_experts_per_tok"))},
                 {"moe_intermediate_size", take(hub, "moe_intermediate_size", defaults.at("moe_intermediate_size"))},
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

HubJson qwen_moe_keys(Decoder& model) {
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

}  // namespace sy
