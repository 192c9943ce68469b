// Granite 3, MoE (IBM 2024): Granite's decoder with Mixtral's experts. Files stack a layer's experts in two tensors:
//   block_sparse_moe.input_linear.weight [E, 2F, D], gate over up, and block_sparse_moe.output_linear.weight [E, D, F].
#include "csrc/models/families/local_experts.h"

namespace sy {
namespace {

class GraniteMoe final : public Family {
 public:
  using Family::Family;
  std::string architecture() const override { return "GraniteMoeForCausalLM"; }
  HubJson sections(HubJson& hub) const override {
    return local_experts_sections(hub, {{"intermediate_size", 11008},
                                        {"rms_norm_eps", 1e-6},
                                        {"max_position_embeddings", 2048},
                                        {"num_local_experts", 8},
                                        {"num_experts_per_tok", 2}});
  }
  FamilyTraits traits() const override { return {.multipliers = true}; }
  std::string why_not(Decoder& model) const override { return why_not_local_experts(model); }
  HubJson hub_keys(Decoder& model) const override { return local_experts_keys(model); }
  std::string name_in_file(const std::string& ours) const override {
    const auto at = ours.find(".mlp.");
    if (at == std::string::npos) return ours;
    const std::string layer = ours.substr(0, at) + ".block_sparse_moe.";
    if (ours.find(".experts.") == std::string::npos) return layer + "router.layer.weight";
    return layer + (ours.ends_with("down_proj.weight") ? "output_linear.weight" : "input_linear.weight");
  }
  Shape shape_in_file(const std::string& name, int64_t count, const Shape& each) const override {
    if (name.ends_with("output_linear.weight")) return {count, each[0], each[1]};
    if (name.ends_with("input_linear.weight")) return {count / 2, 2 * each[0], each[1]};
    return each;
  }
};

SY_REGISTER(Family, GraniteMoe, "granitemoe", "Granite 3, MoE")

}  // namespace
}  // namespace sy
