// model_type switchyard: what a model that no Hugging Face family has is saved as. config.json holds the keys of our
// sections model and moe side by side, components as {"type": name, settings}, and the router's settings once more
// beside the rest, where Hugging Face has them. Tensors keep our names.
#include <utility>

#include "csrc/io/json_fields.h"
#include "csrc/models/family.h"

namespace sy {

namespace {

template <class Section>
HubJson json_of(const Section& section) {
  Section copy = section;  // describing takes a mutable struct
  return HubJson::parse(json_fields([&](Fields& f) { describe(copy, f); }));
}

class OwnFamily final : public Family {
 public:
  OwnFamily() : Family({}, {}) {}
  std::string architecture() const override { return ""; }

  HubJson sections(HubJson& hub) const override {
    HubJson model = take_model(hub, HubJson::object());
    for (const char* key : {"qkv_bias", "use_qk_norm", "qk_norm_scope", "embedding_multiplier", "residual_multiplier",
                            "attention_multiplier", "logits_scaling"})
      if (const HubJson value = take(hub, key, nullptr); !value.is_null()) model[key] = value;
    if (hub.empty()) return {{"model", model}};
    const HubJson router = hub.value("router", HubJson::object());
    for (const auto& [key, value] : router.items())
      if (key != "type")
        if (const HubJson beside = take(hub, key, value); beside != value)
          user_error("{} is {} and, in router, {}", key, beside.dump(), value.dump());
    const HubJson moe = std::exchange(hub, HubJson::object());
    return {{"model", model}, {"moe", moe}};
  }

  // The others stand in the sections.
  FamilyTraits traits() const override { return {.window = true}; }
  std::string why_not(Decoder&) const override { return ""; }

  HubJson hub_keys(Decoder& model) const override {
    HubJson out = model_keys(model.config());
    if (out.contains("attention_multiplier")) out["attention_multiplier"] = model.config().attention_multiplier;
    out["qkv_bias"] = model.config().qkv_bias;
    out["use_qk_norm"] = model.config().use_qk_norm;
    if (model.config().use_qk_norm) out["qk_norm_scope"] = json_of(model.config()).at("qk_norm_scope");
    if (!model.moe_config().is_moe()) return out;
    const HubJson moe = json_of(model.moe_config());
    out.update(moe);
    for (const auto& [key, value] : moe.at("router").items())
      if (key != "type") out[key] = value;
    return out;
  }
};

}  // namespace

std::unique_ptr<Family> make_own_family() { return std::make_unique<OwnFamily>(); }

}  // namespace sy
