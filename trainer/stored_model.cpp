#include "trainer/stored_model.h"

#include "csrc/io/tensor_source.h"
#include "trainer/checkpointing.h"
#include "trainer/session.h"
#include "trainer/weights_checkpoint.h"

namespace sy {

StoredModel::StoredModel(const std::string& path)
    : path_(path), reader_(resolve_checkpoint(path)), config_(config_of(reader_)) {
  Context meta(DeviceType::meta);
  Decoder decoder(meta, config_.model, config_.moe, {.dtype = training_dtype(config_.train.dtype)});
  require_model(reader_, decoder);
  tensors_ = model_tensors(decoder);
}

bool StoredModel::contains(const std::string& name) const {
  for (const CheckpointTensor& t : tensors_)
    if (name_in_model(t.name) == name) return true;
  return false;
}

std::vector<double> StoredModel::values(const std::string& name) const {
  for (const CheckpointTensor& t : tensors_) {
    if (name_in_model(t.name) != name) continue;
    if (t.dtype != DType::f32 && t.dtype != DType::f64)
      user_error("'{}': tensor '{}' holds {} numbers, which cannot be combined", path_, name, dtype_name(t.dtype));
    std::vector<double> values(static_cast<size_t>(element_count(t.shape)));
    std::vector<std::byte> stored(values.size() * static_cast<size_t>(dtype_bytes(t.dtype)));
    reader_.read_box(t.name, "", Box::whole(t.shape), stored.data());
    convert_elements(t.dtype, stored.data(), DType::f64, values.data(), std::ssize(values));
    return values;
  }
  throw Error(fmt::format("'{}' has no tensor '{}'", path_, name));
}

std::string StoredModel::hash() const { return hash_of_file(reader_.directory() + "/index.json"); }

std::vector<StoredModel> open_models(const std::vector<std::string>& paths) {
  if (paths.empty()) user_error("inputs: the list is empty; give at least one checkpoint");
  std::vector<StoredModel> models;
  for (const std::string& path : paths) models.emplace_back(path);
  return models;
}

void require_one_architecture(const std::vector<StoredModel>& models) {
  for (const StoredModel& m : models) {
    const StoredModel& first = models.front();
    std::string difference = first_model_difference(first.config(), m.config());
    if (difference.empty() && m.config().data.tokenizer != first.config().data.tokenizer)
      difference = fmt::format("data.tokenizer is '{}' there and '{}' here", first.config().data.tokenizer,
                               m.config().data.tokenizer);
    if (!difference.empty()) user_error("'{}' cannot be combined with '{}': {}", m.path(), first.path(), difference);
  }
}

}  // namespace sy
