#include "csrc/models/family.h"

#include <algorithm>
#include <set>
#include <utility>

#include "csrc/core/nearest.h"
#include "csrc/io/json_fields.h"

namespace sy {

namespace {

// Keys that do not change what a model computes from given weights and tokens.
const std::set<std::string> kWithoutEffect = {
    "_name_or_path", "architectures",        "bos_token_id",         "dtype",        "eos_token_id",
    "model_type",    "max_window_layers",    "output_router_logits", "pad_token_id", "pretraining_tp",
    "torch_dtype",   "router_aux_loss_coef", "transformers_version", "use_cache"};

// Keys of which one value is supported, that of nearly every model.
const std::vector<std::pair<std::string, HubJson>> kOnly = {{"attention_bias", false}, {"attention_dropout", 0.0},
                                                            {"clip_qkv", nullptr},     {"hidden_act", "silu"},
                                                            {"mlp_bias", false},       {"router_jitter_noise", 0.0}};

// rope_scaling of older files and rope_parameters of newer ones, as our keys rope_theta and rope_scaling.
void normalise_rope(HubJson& hub, const std::string& path) {
  HubJson rope = take(hub, "rope_scaling", nullptr);
  HubJson parameters = take(hub, "rope_parameters", nullptr);
  if (!rope.is_null() && !parameters.is_null())
    user_error("{}: holds both rope_scaling and rope_parameters; keep the one that is right", path);
  const char* key = rope.is_null() ? "rope_parameters" : "rope_scaling";
  if (rope.is_null()) rope = std::move(parameters);
  if (rope.is_null()) return;
  if (!rope.is_object()) user_error("{}: {} is {}, but must be a section", path, key, rope.dump());
  if (const HubJson theta = take(rope, "rope_theta", nullptr); !theta.is_null()) {
    if (hub.contains("rope_theta") && hub["rope_theta"] != theta)
      user_error("{}: rope_theta is {} and, in {}, {}", path, hub["rope_theta"].dump(), key, theta.dump());
    hub["rope_theta"] = theta;
  }
  const HubJson old_type = take(rope, "type", nullptr);
  const HubJson type = take(rope, "rope_type", old_type.is_null() ? HubJson("default") : old_type);
  if (!old_type.is_null() && old_type != type)
    user_error("{}: {} says type {} and rope_type {}", path, key, old_type.dump(), type.dump());
  if (type != "default" && type != "linear" && type != "llama3")
    user_error("{}: {} of type {} is not supported; default, linear and llama3 are", path, key, type.dump());
  if (type == "default") {
    if (!rope.empty()) user_error("{}: {}.{} is not understood beside type default", path, key, rope.begin().key());
    return;
  }
  hub["rope_scaling"] = {{"type", type}};
  hub["rope_scaling"].update(rope);
}

// sliding_window becomes 0 where the file says that there is no window, which leaving the key out does not say.
void normalise_window(HubJson& hub, const std::string& path, bool has_windows) {
  const HubJson is_used = take(hub, "use_sliding_window", nullptr);
  if (is_used == true && !hub.contains("sliding_window"))
    user_error("{}: use_sliding_window is true, but sliding_window is missing", path);
  if (is_used == false || (hub.contains("sliding_window") && hub["sliding_window"].is_null()))
    hub["sliding_window"] = 0;
  const HubJson layers = take(hub, "layer_types", HubJson::array());
  if (!has_windows && !layers.empty()) hub["sliding_window"] = 0;  // of full_attention, as follows
  for (const HubJson& layer : layers)
    if (layer != "full_attention")
      user_error("{}: layer_types has {}; only full_attention is supported", path, layer.dump());
}

// A file that leaves one out has 1.
const std::vector<const char*> kMultipliers = {"embedding_multiplier", "residual_multiplier", "attention_multiplier",
                                               "logits_scaling"};

// What all models of the family have, and the constants of one that has multipliers, into the sections.
void add_traits(const FamilyTraits& family, const std::string& model_type, HubJson& hub, HubJson& sections) {
  HubJson& model = sections["model"];
  for (const char* key : kMultipliers)
    if (family.multipliers) model[key] = take(hub, key, 1.0);
  if (family.qk_norm) model["use_qk_norm"] = true;
  if (family.qk_norm == QkNormScope::kAllHeads) model["qk_norm_scope"] = "all_heads";
  if (family.qkv_bias) model["qkv_bias"] = true;
  if (!family.window && model.contains("sliding_window"))
    user_error("sliding_window {} is not supported for model_type {}; only full attention is",
               model["sliding_window"].dump(), model_type);
  if (family.shared_expert == SharedExpert::kGated) sections["moe"]["shared_expert_gate"] = true;
}

bool is_without_multipliers(const ModelConfig& m) {
  return m.embedding_multiplier == 1 && m.residual_multiplier == 1 && m.attention_multiplier == 0 &&
         m.logits_scaling == 1;
}

std::string why_not_multipliers(const ModelConfig& m, bool has_multipliers) {
  if (is_without_multipliers(m)) return has_multipliers ? "no multipliers" : "";
  if (has_multipliers) return "";
  return fmt::format(
      "model.embedding_multiplier, residual_multiplier, attention_multiplier, logits_scaling: {}, {}, {}, {}",
      m.embedding_multiplier, m.residual_multiplier, m.attention_multiplier, m.logits_scaling);
}

std::string why_not_traits(const ModelConfig& model, const MoeConfig& moe, const FamilyTraits& family) {
  if (model.use_qk_norm != family.qk_norm.has_value()) return fmt::format("model.use_qk_norm: {}", model.use_qk_norm);
  if (model.use_qk_norm && model.qk_norm_scope != *family.qk_norm)
    return fmt::format("model.qk_norm_scope: {}", model.qk_norm_scope == QkNormScope::kHead ? "head" : "all_heads");
  if (model.qkv_bias != family.qkv_bias) return fmt::format("model.qkv_bias: {}", model.qkv_bias);
  if (model.sliding_window != 0 && !family.window) return fmt::format("model.sliding_window: {}", model.sliding_window);
  if (const std::string why = why_not_multipliers(model, family.multipliers); !why.empty()) return why;
  const bool has_shared = moe.shared_expert_intermediate_size != 0;
  if (has_shared != (family.shared_expert != SharedExpert::kNone))
    return fmt::format("moe.shared_expert_intermediate_size: {}", moe.shared_expert_intermediate_size);
  if (has_shared && moe.shared_expert_gate != (family.shared_expert == SharedExpert::kGated))
    return fmt::format("moe.shared_expert_gate: {}", moe.shared_expert_gate);
  return "";
}

}  // namespace

std::unique_ptr<Family> make_family(const std::string& model_type, const std::string& where) {
  if (model_type == kOwnModelType) return make_own_family();
  const auto* entry = Registry<Family>::instance().find(model_type);
  if (entry == nullptr)
    user_error("{}: model_type '{}' is no family that can be converted; these are: {}", where, model_type,
               join(Registry<Family>::instance().names()));
  return entry->build(entry->default_config().get(), {});
}

HubModel read_hub_config(const std::string& text, const std::string& path) {
  HubJson hub = HubJson::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!hub.is_object()) user_error("'{}' is not a JSON object", path);
  const HubJson type = hub.value("model_type", HubJson());
  if (!type.is_string()) user_error("{}: has no model_type", path);
  HubModel model{type.get<std::string>(), {}};
  const std::unique_ptr<Family> family = make_family(model.model_type, path);
  const HubJson architectures = hub.value("architectures", HubJson());
  if (!architectures.is_null() && architectures != HubJson::array({family->architecture()}))
    user_error("{}: architectures {} is not supported, only {} is", path, architectures.dump(), family->architecture());

  normalise_window(hub, path, family->traits().window);
  for (auto it = hub.begin(); it != hub.end();)
    it = it->is_null() || kWithoutEffect.contains(it.key()) ? hub.erase(it) : std::next(it);
  for (const auto& [key, only] : kOnly)
    if (const HubJson value = take(hub, key, only); value != only)
      user_error("{}: {} is {}, which is not supported; only {} is", path, key, value.dump(), only.dump());
  normalise_rope(hub, path);
  try {
    model.sections = family->sections(hub);
    add_traits(family->traits(), model.model_type, hub, model.sections);
  } catch (const UserError& e) {
    user_error("{}: {}", path, e.what());
  }
  if (!hub.empty())
    user_error("{}: {} ({}) is not understood for model_type {}, and the model could come out wrong without it", path,
               hub.begin().key(), hub.begin()->dump(), model.model_type);
  return model;
}

FoundFamily find_family(Decoder& model) {
  std::string reasons;
  for (const std::string& name : Registry<Family>::instance().names()) {
    const std::unique_ptr<Family> family = make_family(name, "");
    std::string why = family->why_not(model);
    if (why.empty()) why = why_not_traits(model.config(), model.moe_config(), family->traits());
    if (why.empty()) return {name, ""};
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", name, why);
  }
  return {"", reasons};
}

HubJson take(HubJson& hub, const std::string& key, const HubJson& absent) {
  const auto it = hub.find(key);
  if (it == hub.end()) return absent;
  HubJson value = *it;
  hub.erase(it);
  return value.is_null() ? absent : value;
}

HubJson take_model(HubJson& hub, const HubJson& defaults) {
  HubJson model;
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "rope_scaling",
                          "max_position_embeddings", "sliding_window", "tie_word_embeddings", "initializer_range"}) {
    const HubJson value = take(hub, key, defaults.value(key, HubJson()));
    if (!value.is_null()) model[key] = value;
  }
  const HubJson window = model.value("sliding_window", HubJson(0));
  const HubJson longest = model.value("max_position_embeddings", HubJson());
  if (window == 0 || (window.is_number() && longest.is_number() && window >= longest)) model.erase("sliding_window");
  return model;
}

HubJson model_keys(const ModelConfig& model) {
  ModelConfig copy = model;  // describing takes a mutable struct
  HubJson out = {{"hidden_act", "silu"}, {"attention_bias", false}};
  out.update(HubJson::parse(json_fields([&](Fields& f) { describe(copy, f); })));
  for (const char* ours : {"qkv_bias", "use_qk_norm", "qk_norm_scope", "pad_vocab_size_to"})
    out.erase(ours);                                // files hold no padding
  if (model.qkv_bias) out.erase("attention_bias");  // which would be of the output, too
  out["num_key_value_heads"] = model.kv_heads();
  out["head_dim"] = model.head_size();
  if (model.intermediate_size == 0) out.erase("intermediate_size");  // no dense layer has it
  if (model.sliding_window == 0) out.erase("sliding_window");
  if (is_without_multipliers(model))
    for (const char* key : kMultipliers) out.erase(key);
  else
    out["attention_multiplier"] =
        ops::AttentionShape{.head_dim = model.head_size(), .score_scale = model.attention_multiplier}.scale();
  HubJson rope;
  if (model.rope_scaling.type != RopeScalingType::kNone)
    for (const auto& [key, value] : out["rope_scaling"].items()) rope[key == "type" ? "rope_type" : key] = value;
  out["rope_scaling"] = rope;
  return out;
}

std::string replaced(std::string name, const std::string& from, const std::string& to) {
  if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
  return name;
}

HubJson router_settings(const MoeConfig& moe) {
  MoeConfig copy = moe;  // describing takes a mutable struct
  return HubJson::parse(json_fields([&](Fields& f) { describe(copy, f); })).at("router");
}

std::string why_not_dense(Decoder& model) { return model.moe_config().is_moe() ? "experts" : ""; }

std::string why_not_uniform_experts(Decoder& model) {
  const MoeConfig& moe = model.moe_config();
  if (!moe.is_moe()) return "a dense model";
  std::set<int64_t> counts, widths;
  for (const auto& block : model.moe_layers()) {
    const int64_t experts = block.moe->num_experts();
    counts.insert(experts);
    for (int64_t e = 0; e < experts; ++e) widths.insert(moe.expert_intermediate_size(e));
    if (!block.moe->capacity().is_unlimited()) return "moe.capacity: " + moe.methods.capacity.type();
  }
  if (counts.size() > 1) return "moe.num_experts_per_layer: several counts";
  if (widths.size() > 1) return "moe.expert_intermediate_sizes: several widths";
  return "";
}

std::string why_not_softmax_topk_experts(Decoder& model) {
  if (const std::string why = why_not_uniform_experts(model); !why.empty()) return why;
  const MoeConfig& moe = model.moe_config();
  if (!model.moe_layers().front().moe->router().hub_norm_topk_prob())
    return "moe.router: " + router_settings(moe).dump();
  if (!moe.methods.hooks.items().empty()) return "moe.hooks: " + moe.methods.hooks.items().front().type();
  return "";
}

std::string why_not_all_layers_moe(Decoder& model) {
  for (int64_t layer = 0; layer < model.config().num_hidden_layers; ++layer)
    if (model.moe_config().num_experts_in_layer(layer) == 0) return fmt::format("layer {} is dense", layer);
  return "";
}

}  // namespace sy
