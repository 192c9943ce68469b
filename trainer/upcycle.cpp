#include "trainer/upcycle.h"

#include <CLI/CLI.hpp>
#include <cstring>
#include <map>

#include "trainer/checkpointing.h"
#include "trainer/session.h"

namespace sy {

namespace {

using upcycling::Ffn;
using upcycling::LayerPlan;
using upcycling::LayerSamples;
using upcycling::Matrix;
using upcycling::MoeWeights;
using upcycling::SampleNeed;

const char* const kProjection[] = {"gate_proj.weight", "up_proj.weight", "down_proj.weight"};

// [rows, columns] -> [columns, rows]
std::vector<double> transposed(const std::vector<double>& values, int64_t rows, int64_t columns) {
  std::vector<double> result(values.size());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      result[static_cast<size_t>(j * rows + i)] = values[static_cast<size_t>(i * columns + j)];
  return result;
}

// A tensor as files hold it: W_down is [D, F] there.
std::vector<double> stored_values(const Ffn& ffn, Matrix m) {
  return m == upcycling::kDown ? transposed(ffn.weight_FD[m], ffn.width(), ffn.hidden_size) : ffn.weight_FD[m];
}

Ffn dense_block(const StoredModel& model, int64_t input, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.mlp.", layer);
  const int64_t width = model.config().model.intermediate_size, hidden = model.config().model.hidden_size;
  Ffn ffn{.hidden_size = hidden, .weight_FD = {}, .origin_F = {}};
  for (const Matrix m : upcycling::kMatrices) ffn.weight_FD[m] = model.values(prefix + kProjection[m]);
  ffn.weight_FD[upcycling::kDown] = transposed(ffn.weight_FD[upcycling::kDown], hidden, width);
  for (int64_t i = 0; i < width; ++i) ffn.origin_F.push_back({input, layer, i});
  return ffn;
}

Config moe_config(const UpcycleConfig& upcycle, const Config& dense) {
  Config config = derived_config(dense, upcycle.recipe.output);
  config.moe = upcycle.moe;
  const int64_t layers = config.model.num_hidden_layers, counts = std::ssize(config.moe.num_experts_per_layer);
  if (counts != 0 && counts != layers)
    user_error("moe.num_experts_per_layer: {} counts for the {} layers of the dense model", counts, layers);
  bool has_dense_layers = false;
  for (int64_t l = 0; l < layers; ++l) has_dense_layers |= config.moe.num_experts_in_layer(l) == 0;
  if (!has_dense_layers) config.model.intermediate_size = 0;
  // Reading back checks the sections against each other.
  return parse_config(print_config(config), "the upcycled model's configuration", {}, /*num_ranks=*/0);
}

// The tensors of the MoE model. One layer's experts are in memory at a time, as tensors are asked for in their order.
class UpcycledModel final : public TensorSource {
 public:
  UpcycledModel(const UpcycleConfig& upcycle, const Config& config, const MergedModel& merged)
      : upcycle_(upcycle), merged_(merged), inputs_(merged.inputs()) {
    Context meta(DeviceType::meta);
    Decoder decoder(meta, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
    for (const auto& block : decoder.moe_layers()) {
      plans_.push_back(plan(block.layer, block.moe->num_experts()));
      methods_.push_back(upcycle.method.build(plans_.back()));
      add_places(std::ssize(plans_) - 1);
    }
    take_samples();
    for (const CheckpointTensor& t : model_tensors(decoder)) {
      const std::string name = name_in_model(t.name);
      const bool is_state = name != t.name && (t.dtype == DType::f32 || t.dtype == DType::f64);
      if (!places_.contains(name) && !is_state && !merged.contains(name))
        user_error("moe: tensor '{}' comes neither from the dense model nor from method '{}'; choose another router",
                   name, upcycle.method.type());
      tensors_.push_back({name, DType::f64, t.shape});
    }
  }

  std::string path() const override { return "the upcycled model"; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override {
    const std::vector<double> values = values_of(tensors_[i]);
    SY_CHECK(std::ssize(values) == element_count(tensors_[i].shape), "'{}' has {} values", tensors_[i].name,
             values.size());
    std::memcpy(dst, values.data(), values.size() * sizeof(double));
  }

  // Per expert "model.layers.1.mlp.experts.0": i32 [F, 3], input, layer and neuron of each of its neurons.
  void write_lineage(const std::string& path) const {
    std::vector<NamedTensor> tensors;
    for (const auto& [name, origins] : lineage_)
      tensors.push_back({name, {DType::i32, {std::ssize(origins) / 3, 3}, origins.data()}});
    write_safetensors(path, tensors);
  }

 private:
  // Which part of which MoE layer a tensor is. expert < 0: the shared one.
  struct Place {
    int64_t index;
    bool is_router;
    int64_t expert;
    Matrix matrix;
  };

  LayerPlan plan(int64_t layer, int64_t experts) const {
    const MoeConfig& moe = upcycle_.moe;
    const Config& dense = inputs_.front().config();
    for (int64_t e = 1; e < experts; ++e)
      if (moe.expert_intermediate_size(e) != moe.expert_intermediate_size(0))
        user_error("moe.expert_intermediate_sizes: upcycling makes experts of one width; give moe_intermediate_size");
    return {.layer = layer,
            .hidden_size = dense.model.hidden_size,
            .num_inputs = std::ssize(inputs_),
            .dense_width = dense.model.intermediate_size,
            .num_experts = experts,
            .num_experts_per_tok = moe.num_experts_per_tok,
            .expert_width = moe.expert_intermediate_size(0),
            .shared_width = moe.shared_expert_intermediate_size,
            .weight_at_equal_logits = upcycling::weight_at_equal_logits(moe.methods, experts, moe.num_experts_per_tok),
            .num_texts = std::ssize(upcycle_.samples.data_path),
            .seed = static_cast<uint64_t>(upcycle_.recipe.seed)};
  }

  void take_samples() {
    const std::vector<std::string>& paths = upcycle_.samples.data_path;
    const SampleNeed need = methods_.empty() ? SampleNeed::kNothing : methods_.front()->needs();
    if (need == SampleNeed::kNothing && !merged_.reads_samples() && !paths.empty())
      user_error("sample_data_path: '{}' has no effect, {} looks at weights alone as it is set; remove it",
                 paths.front(), upcycle_.method.type());
    if (need == SampleNeed::kNothing) return;
    if (paths.empty())
      user_error("sample_data_path is missing: {} looks at what the dense model does on a text",
                 upcycle_.method.type());
    samples_ = block_samples(inputs_.front(), upcycle_.samples, need);
  }

  void add_places(int64_t index) {
    const LayerPlan& plan = plans_[static_cast<size_t>(index)];
    const std::string prefix = fmt::format("model.layers.{}.mlp.", plan.layer);
    places_[prefix + "gate.weight"] = {index, true, 0, upcycling::kGate};
    for (const Matrix m : upcycling::kMatrices) {
      for (int64_t e = 0; e < plan.num_experts; ++e)
        places_[fmt::format("{}experts.{}.{}", prefix, e, kProjection[m])] = {index, false, e, m};
      if (plan.shared_width > 0) places_[prefix + "shared_experts." + kProjection[m]] = {index, false, -1, m};
    }
  }

  std::vector<double> values_of(const SourceTensor& t) const {
    const auto place = places_.find(t.name);
    if (place != places_.end()) {
      const MoeWeights& made = layer(place->second.index);
      if (place->second.is_router) return made.router_ED;
      const int64_t e = place->second.expert;
      return stored_values(e < 0 ? made.shared.value() : made.experts.at(static_cast<size_t>(e)), place->second.matrix);
    }
    if (merged_.contains(t.name)) return merged_.values(t.name);
    return std::vector<double>(static_cast<size_t>(element_count(t.shape)), 0.0);
  }

  const MoeWeights& layer(int64_t index) const {
    if (made_index_ == index) return made_;
    const LayerPlan& plan = plans_[static_cast<size_t>(index)];
    std::vector<Ffn> dense;
    for (size_t i = 0; i < inputs_.size(); ++i)
      dense.push_back(dense_block(inputs_[i], static_cast<int64_t>(i), plan.layer));
    const size_t block = static_cast<size_t>(plan.layer);
    made_ = methods_[static_cast<size_t>(index)]->convert(dense, samples_.empty() ? LayerSamples{} : samples_[block]);
    made_index_ = index;
    const std::string prefix = fmt::format("model.layers.{}.mlp.", plan.layer);
    for (size_t e = 0; e < made_.experts.size(); ++e)
      keep_lineage(fmt::format("{}experts.{}", prefix, e), made_.experts[e]);
    if (made_.shared) keep_lineage(prefix + "shared_experts", *made_.shared);
    return made_;
  }

  void keep_lineage(const std::string& name, const Ffn& ffn) const {
    std::vector<int32_t>& rows = lineage_[name];
    rows.clear();
    for (const upcycling::Origin& o : ffn.origin_F)
      for (const int64_t number : {o.input, o.layer, o.neuron}) rows.push_back(static_cast<int32_t>(number));
  }

  const UpcycleConfig& upcycle_;
  const MergedModel& merged_;
  std::span<const StoredModel> inputs_;
  std::vector<LayerPlan> plans_;  // one per MoE layer, as methods_
  std::vector<std::unique_ptr<upcycling::Upcycling>> methods_;
  std::vector<LayerSamples> samples_;  // per layer; empty if the method looks at weights alone
  std::map<std::string, Place> places_;
  std::vector<SourceTensor> tensors_;
  mutable int64_t made_index_ = -1;
  mutable MoeWeights made_;
  mutable std::map<std::string, std::vector<int32_t>> lineage_;
};

}  // namespace

void describe_own_keys(UpcycleConfig& c, Fields& f) {
  describe(c.recipe, f);
  f.field("method", c.method, "how dense blocks become experts", {.required = true});
  describe(c.samples, f);
  const FieldRule rule{.active = c.recipe.inputs.size() > 1, .active_when = "there are several inputs"};
  f.field("merge", c.merge, "how the inputs' other tensors become one, a method of `switchyard merge`", rule);
  f.field("base", c.base, "the checkpoint that the inputs were fine-tuned from, for merge methods that add differences",
          rule);
  f.field("hardware", c.hardware,
          "a cost file (configs/hardware/): report the time of one step before and after, modelled; empty: do not");
}

void describe(UpcycleConfig& c, Fields& f) {
  describe_own_keys(c, f);
  f.section("moe", "The MoE model to be made; keys as in a run's configuration.",
            [&](Fields& g) { describe(c.moe, g); });
  f.require(c.moe.is_moe(), "moe.num_experts", "is missing; the new model needs experts");
}

DerivationReport upcycle(const UpcycleConfig& config) {
  const MergedModel merged({.key = "merge", .method = config.merge, .base = config.base, .samples = config.samples},
                           config.recipe);
  const StoredModel& first = merged.inputs().front();
  if (first.config().moe.is_moe())
    user_error("'{}' is an MoE model already; upcycling starts from dense ones", first.path());
  const Config target = moe_config(config, first.config());
  const UpcycledModel source(config, target, merged);
  return write_derived_model({.command = "upcycle",
                              .recipe_text = recipe_text(config),
                              .recipe = &config.recipe,
                              .inputs = &merged.models(),
                              .config = target,
                              .source = &source,
                              .write_lineage = [&](const std::string& path) { source.write_lineage(path); },
                              .hardware = config.hardware,
                              .remark = merged.remark()});
}

int run_upcycle(int argc, char** argv, Comm& comm) {
  return run_recipe(argc, argv, comm, "upcycle", "Make an MoE checkpoint from dense ones",
                    [](const std::string& path, const std::vector<std::string>& overrides) {
                      upcycle(load_recipe<UpcycleConfig>(path, overrides));
                    });
}

}  // namespace sy
