#include "tests/conformance/method_cases.h"

#include <algorithm>
#include <filesystem>

namespace sy::test {

namespace {

struct Variant {
  const char* method;
  const char* variant;
  std::vector<std::string> overrides;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> table = {
      {"softmax_topk", "raw", {"moe.router.norm_topk_prob=false"}},
      {"softmax_topk", "scaled", {"moe.router.routed_scaling_factor=2.5"}},
      {"softmax_topk", "after", {"moe.router={type: softmax_topk, softmax: after}"}},
      {"softmax_topk", "after_scaled", {"moe.router={type: softmax_topk, softmax: after, routed_scaling_factor: 1.5}"}},
      {"softmax_topk", "top1", {"moe.num_experts_per_tok=1", "moe.router.norm_topk_prob=false"}},
      {"softmax_topk", "every_expert", {"moe.num_experts_per_tok=8"}},
      {"softmax_topk", "shared_expert", {"moe.shared_expert_intermediate_size=32"}},
      {"sigmoid_topk", "ungrouped", {"moe.router={type: sigmoid_topk}"}},
      {"sigmoid_topk", "raw", {"moe.router={type: sigmoid_topk, norm_topk_prob: false}"}},
      {"sigmoid_topk", "with_loss", {"moe.balance=[{type: load_balancing, scope: sequence, coefficient: 0.001}]"}},
      {"switch_top1", "without_jitter", {"moe.router.jitter_eps=0"}},
      {"switch_top1", "identity", {"moe.capacity.overflow=identity", "moe.capacity.factor=0.8"}},
      {"switch_top1", "next_choice", {"moe.capacity.overflow=next_choice", "moe.capacity.factor=1.0"}},
      {"top_p", "uncapped", {"moe.router.max_experts_per_tok=0"}},
      {"top_p", "one_expert", {"moe.router.top_p=0"}},
      {"top_p", "limited", {"moe.capacity={type: position, factor: 0.5}"}},
      {"expert_choice", "micro_batch", {"moe.router.group=micro_batch"}},
      {"hash", "independent", {"moe.router.balanced=false"}},
      {"hash", "two_experts", {"moe.num_experts_per_tok=2"}},
      {"position", "zero", {"moe.capacity.overflow=zero"}},
      {"position", "identity", {"moe.capacity.overflow=identity"}},
      {"position", "renormalised", {"moe.capacity.overflow=zero", "moe.capacity.renormalise_after_drop=true"}},
      {"score", "identity", {"moe.capacity.overflow=identity"}},
      {"score", "next_choice", {"moe.capacity.overflow=next_choice"}},
      {"token_score", "next_choice", {"moe.capacity.overflow=next_choice"}},
      {"random", "zero", {"moe.capacity.overflow=zero"}},
      {"random", "next_choice", {"moe.capacity.overflow=next_choice"}},
      {"load_balancing", "sequence", {"moe.balance=[{type: load_balancing, scope: sequence}]"}},
      {"load_balancing", "micro_batch", {"moe.balance=[{type: load_balancing, scope: micro_batch}]"}},
      {"load_balancing", "lagged", {"moe.balance=[{type: load_balancing, scope: global_batch_lagged}]"}},
      {"load_balancing", "of_top_p", {"moe.router={type: top_p, top_p: 0.5}"}},
      {"selection_bias", "of_softmax", {"moe.router={type: softmax_topk}"}},
      {"selection_bias", "not_centred", {"moe.hooks=[{type: selection_bias, center: false}]"}},
      {"swiglu", "three_widths", {"moe.expert_intermediate_sizes=[64, 32, 48, 32, 48, 64, 32, 32]"}},
  };
  return table;
}

template <class Interface>
std::vector<std::string> names() {
  return Registry<Interface>::instance().names();
}

template <class Interface>
std::vector<std::string> types(const ComponentList<Interface>& list) {
  std::vector<std::string> result;
  for (const auto& item : list.items()) result.push_back(item.type());
  return result;
}

}  // namespace

std::string MethodCase::path() const { return std::string(SY_SOURCE_DIR) + "/configs/methods/" + method + ".yaml"; }

Config MethodCase::config(std::vector<std::string> more) const {
  std::vector<std::string> all = overrides;
  all.insert(all.end(), more.begin(), more.end());
  return load_config(path(), all);
}

Config MethodCase::tiny_config(std::vector<std::string> more) const {
  std::vector<std::string> all = {
      "model.hidden_size=16",      "model.num_attention_heads=2", "model.num_key_value_heads=1",
      "model.pad_vocab_size_to=1", "model.vocab_size=32",         "model.initializer_range=0.2",
      "train.seq_length=8",        "train.micro_batch_size=2",    "train.global_batch_size=4"};
  all.insert(all.end(), more.begin(), more.end());
  return config(all);
}

std::ostream& operator<<(std::ostream& out, const MethodCase& method_case) { return out << method_case.label(); }

std::vector<MethodCase> method_files() {
  std::vector<MethodCase> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(SY_SOURCE_DIR) + "/configs/methods"))
    if (entry.path().extension() == ".yaml") files.push_back({entry.path().stem().string(), "", {}});
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.method < b.method; });
  return files;
}

std::vector<MethodCase> method_cases() {
  std::vector<MethodCase> cases = method_files();
  for (const Variant& v : variants()) cases.push_back({v.method, v.variant, v.overrides});
  return cases;
}

std::vector<Seam> seams() {
  using moe::MoeChoices;
  using Names = std::vector<std::string>;
  return {
      {"moe.router", names<moe::Router>(), [](const MoeChoices& c) { return Names{c.router.type()}; }},
      {"moe.capacity", names<moe::Capacity>(), [](const MoeChoices& c) { return Names{c.capacity.type()}; }},
      {"moe.experts", names<moe::Experts>(), [](const MoeChoices& c) { return Names{c.experts.type()}; }},
      {"moe.balance", names<moe::Balance>(), [](const MoeChoices& c) { return types(c.balance); }},
      {"moe.hooks", names<moe::Hook>(), [](const MoeChoices& c) { return types(c.hooks); }},
  };
}

}  // namespace sy::test
