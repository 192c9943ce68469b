#include "trainer/merged_model.h"

#include <cstring>

#include "trainer/checkpointing.h"
#include "trainer/token_evidence.h"

namespace sy {

using merging::MergeSet;

MergedModel::MergedModel(const MergeChoice& choice, const RecipeConfig& recipe) : models_(open_models(recipe.inputs)) {
  require_one_architecture(models_);
  const auto evidence = [&] {
    if (choice.samples.data_path.empty())
      user_error("sample_data_path is missing: {} weighs the inputs by a text", choice.method.type());
    reads_samples_ = true;
    return token_evidence(models_, choice.samples);
  };
  method_ = choice.method.build({.num_inputs = std::ssize(models_),
                                 .seed = static_cast<uint64_t>(recipe.seed),
                                 .key = choice.key,
                                 .evidence = evidence});
  if (method_->needs_base() && choice.base.empty())
    user_error("base is missing: {} adds the inputs' differences from it", choice.method.type());
  if (!method_->needs_base() && !choice.base.empty())
    user_error("base: '{}' has no effect, {} looks at the inputs alone; remove it", choice.base, choice.method.type());
  if (method_->needs_base()) {
    models_.insert(models_.begin(), StoredModel(choice.base));
    require_one_architecture(models_);
  }
  int64_t first = 0;
  for (const CheckpointTensor& t : models_.front().tensors()) {
    tensors_.push_back({name_in_model(t.name), DType::f64, t.shape});
    first_element_.push_back(first);
    first += element_count(t.shape);
  }
}

void MergedModel::read(size_t i, void* dst) const {
  const auto count = static_cast<size_t>(element_count(tensors_[i].shape));
  if (!method_->needs_whole_model()) {
    std::memcpy(dst, method_->merge(set_of(std::span(tensors_).subspan(i, 1))).data(), count * sizeof(double));
    return;
  }
  if (whole_.empty()) whole_ = method_->merge(set_of(tensors_));
  std::memcpy(dst, whole_.data() + first_element_[i], count * sizeof(double));
}

std::vector<double> MergedModel::values(const std::string& name) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].name != name) continue;
    std::vector<double> values(static_cast<size_t>(element_count(tensors_[i].shape)));
    read(i, values.data());
    return values;
  }
  throw Error(fmt::format("the merged model has no tensor '{}'", name));
}

MergeSet MergedModel::set_of(std::span<const SourceTensor> tensors) const {
  const auto row = [&](const StoredModel& model) {
    std::vector<double> all;
    for (const SourceTensor& t : tensors) {
      const std::vector<double> values = model.values(t.name);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  MergeSet set{.name = tensors.front().name, .base_n = {}, .inputs = {}};
  if (method_->needs_base()) set.base_n = row(models_.front());
  for (const StoredModel& input : inputs()) set.inputs.push_back(row(input));
  return set;
}

}  // namespace sy
