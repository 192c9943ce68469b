#include "trainer/merge.h"

#include <cstring>

#include "trainer/checkpointing.h"

namespace sy {

namespace {

using merging::MergeSet;

// The merged tensors, each computed when it is asked for, or all at the first if the method needs the whole model.
class MergedModel final : public TensorSource {
 public:
  // `models`: the base, if the method needs one, then the inputs.
  MergedModel(const merging::Merging& method, const std::vector<StoredModel>& models)
      : method_(method), models_(models) {
    int64_t first = 0;
    for (const CheckpointTensor& t : models.front().tensors()) {
      tensors_.push_back({name_in_model(t.name), DType::f64, t.shape});
      first_element_.push_back(first);
      first += element_count(t.shape);
    }
  }

  std::string path() const override { return "the merged model"; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override {
    const auto count = static_cast<size_t>(element_count(tensors_[i].shape));
    if (!method_.needs_whole_model()) {
      std::memcpy(dst, method_.merge(set_of({tensors_[i]})).data(), count * sizeof(double));
      return;
    }
    if (whole_.empty()) whole_ = method_.merge(set_of(tensors_));
    std::memcpy(dst, whole_.data() + first_element_[i], count * sizeof(double));
  }

 private:
  MergeSet set_of(const std::vector<SourceTensor>& tensors) const {
    const auto row = [&](const StoredModel& model) {
      std::vector<double> all;
      for (const SourceTensor& t : tensors) {
        const std::vector<double> values = model.values(t.name);
        all.insert(all.end(), values.begin(), values.end());
      }
      return all;
    };
    MergeSet set{.name = tensors.front().name, .base_n = {}, .inputs = {}};
    for (size_t i = 0; i < models_.size(); ++i) {
      if (i == 0 && method_.needs_base()) set.base_n = row(models_[i]);
      else set.inputs.push_back(row(models_[i]));
    }
    return set;
  }

  const merging::Merging& method_;
  const std::vector<StoredModel>& models_;
  std::vector<SourceTensor> tensors_;
  std::vector<int64_t> first_element_;
  mutable std::vector<double> whole_;
};

}  // namespace

void describe(MergeConfig& c, Fields& f) {
  describe(c.recipe, f);
  f.field("method", c.method, "how the inputs become one", {.required = true});
  f.field("base", c.base, "the checkpoint that the inputs were fine-tuned from, for methods that add differences");
}

DerivationReport merge(const MergeConfig& config) {
  const auto method = config.method.build(
      {.num_inputs = std::ssize(config.recipe.inputs), .seed = static_cast<uint64_t>(config.recipe.seed)});
  if (method->needs_base() && config.base.empty())
    user_error("base is missing: {} adds the inputs' differences from it", config.method.type());
  if (!method->needs_base() && !config.base.empty())
    user_error("base: '{}' has no effect, {} looks at the inputs alone; remove it", config.base, config.method.type());
  std::vector<std::string> paths = config.recipe.inputs;
  if (method->needs_base()) paths.insert(paths.begin(), config.base);
  const std::vector<StoredModel> models = open_models(paths);
  require_one_architecture(models);
  const MergedModel source(*method, models);
  return write_derived_model({.command = "merge",
                              .recipe_text = recipe_text(config),
                              .recipe = &config.recipe,
                              .inputs = &models,
                              .config = derived_config(models.front().config(), config.recipe.output),
                              .source = &source});
}

int run_merge(int argc, char** argv, Comm& comm) {
  return run_recipe(argc, argv, comm, "merge", "Make one checkpoint of several of one architecture",
                    [](const std::string& path, const std::vector<std::string>& overrides) {
                      merge(load_recipe<MergeConfig>(path, overrides));
                    });
}

}  // namespace sy
