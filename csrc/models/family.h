// Hugging Face model families: a config.json <-> the sections model and moe of a run, and what files call the tensors.
//
// One family = one file in csrc/models/families, registered under its model_type. Strict both ways: a key of
// config.json is understood, known to have no effect on what the model computes, or an error; a model of ours is one of
// the family or the trait is named that keeps it out.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "csrc/core/registry.h"
#include "csrc/models/decoder.h"

namespace sy {

using HubJson = nlohmann::ordered_json;

// The expert that every token of a family's MoE layers visits; gated: weighted by a sigmoid.
enum class SharedExpert { kNone, kPlain, kGated };

// What a family has beyond Llama.
struct FamilyTraits {
  std::optional<QkNormScope> qk_norm = {};  // queries and keys are normed
  bool qkv_bias = false;                    // queries, keys and values have biases
  bool window = false;                      // a token may see the last sliding_window keys only
  SharedExpert shared_expert = SharedExpert::kNone;
  bool multipliers = false;  // constants on embeddings, residuals, attention scores and logits
};

class Family {
 public:
  struct Config {};  // of the family there is nothing to choose
  struct Build {};
  Family(const Config&, const Build&) {}
  virtual ~Family() = default;

  virtual std::string architecture() const = 0;  // "LlamaForCausalLM"; "": of transformers none
  // {"model": {...}, "moe": {...}} for the model that `hub` describes. Takes out of `hub` every key that it
  // understands.
  virtual HubJson sections(HubJson& hub) const = 0;
  virtual FamilyTraits traits() const { return {}; }
  // The first trait that `model` has and the family does not, apart from traits(); "" if there is none.
  virtual std::string why_not(Decoder& model) const = 0;
  // The keys of config.json for a model of the family.
  virtual HubJson hub_keys(Decoder& model) const = 0;
  // What files call a tensor of ours. Several may have one name: there they are stacked in the model's order.
  virtual std::string name_in_file(const std::string& ours) const { return ours; }
  // The shape there of `count` of our tensors, of shape `each`, that are called `name`.
  virtual Shape shape_in_file(const std::string& name, int64_t count, const Shape& each) const {
    SY_CHECK(count == 1, "{} tensors are called '{}'", count, name);
    return each;
  }
};

inline void describe(Family::Config&, Fields&) {}

// The model_type of models that no family has; theirs stands in no registry, since it has every model.
inline constexpr const char* kOwnModelType = "switchyard";
std::unique_ptr<Family> make_own_family();

// UserError that names the families if there is none of this model_type; `where` begins the message.
std::unique_ptr<Family> make_family(const std::string& model_type, const std::string& where);

// What a config.json says, as far as it is understood.
struct HubModel {
  std::string model_type;
  HubJson sections;
};
// UserError names the file and the first key that is not understood or whose value is not supported. Values of sizes
// are left to the reader of the sections.
HubModel read_hub_config(const std::string& text, const std::string& path);

// The family of a model: its model_type, or "" and why not, family by family.
struct FoundFamily {
  std::string model_type, why_not;
};
FoundFamily find_family(Decoder& model);

// For families. The section `model` from the keys that config.json shares with it; `defaults` are transformers', for
// keys that the file may leave out. A window that no sequence reaches is none.
HubJson take_model(HubJson& hub, const HubJson& defaults);
// A key's value, taken out of `hub`; `absent` where it is not there.
HubJson take(HubJson& hub, const std::string& key, const HubJson& absent);
// The keys of config.json that a model of any family has, and what differs from Llama.
HubJson model_keys(const ModelConfig& model);
// `name` with the first `from` in it made `to`.
std::string replaced(std::string name, const std::string& from, const std::string& to);
// The router with its settings, as in the section `moe`.
HubJson router_settings(const MoeConfig& moe);
// The first trait of a dense model, of one whose MoE layers have equally many routed experts of one width without a
// limit, or of one whose experts are moreover chosen by Hugging Face's softmax top-k, that is none; "".
std::string why_not_dense(Decoder& model);
std::string why_not_uniform_experts(Decoder& model);
std::string why_not_softmax_topk_experts(Decoder& model);
// The first dense layer, for families that have none; "".
std::string why_not_all_layers_moe(Decoder& model);

}  // namespace sy
