#include "trainer/weights_checkpoint.h"

#include <fmt/ranges.h>

#include <cmath>
#include <map>

#include "csrc/io/print_fields.h"
#include "trainer/checkpointing.h"
#include "trainer/progress.h"
#include "trainer/run_folder.h"
#include "trainer/session.h"

namespace sy {

namespace {

// Keys of model and moe that change neither a weight's meaning nor what a token's weights compute.
const std::vector<std::string> kFree = {"model.initializer_range",
                                        "model.pad_vocab_size_to",
                                        "model.max_position_embeddings",
                                        "moe.balance",
                                        "moe.capacity",
                                        "moe.allow_batch_dependent_routing"};

std::string model_text(const Config& config) {
  Config copy = config;                            // describing takes a mutable struct
  copy.model.head_dim = config.model.head_size();  // written out or not
  copy.model.num_key_value_heads = config.model.kv_heads();
  return print_fields([&](Fields& f) {
    f.section("model", "", [&](Fields& g) { describe(copy.model, g); });
    f.section("moe", "", [&](Fields& g) { describe(copy.moe, g); });
  });
}

void require_finite(const TensorSource& source, const CheckpointTensor& t, const void* values) {
  if (t.dtype != DType::f32 && t.dtype != DType::f64) return;
  dispatch_accumulation(t.dtype, [&]<class A>() {
    const auto* x = static_cast<const A*>(values);
    for (int64_t i = 0; i < element_count(t.shape); ++i)
      if (!std::isfinite(x[i]))
        user_error("'{}': element {} of tensor '{}' is {}", source.path(), i, t.name, static_cast<double>(x[i]));
  });
}

}  // namespace

void write_weights_checkpoint(const std::string& folder, const Config& config, const TensorSource& source,
                              const std::string& label) {
  Context meta(DeviceType::meta);
  Decoder decoder(meta, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
  std::map<std::string, size_t> unread;
  for (size_t i = 0; i < source.tensors().size(); ++i)
    if (!unread.emplace(source.tensors()[i].name, i).second)
      user_error("'{}' lists tensor '{}' twice", source.path(), source.tensors()[i].name);

  int64_t done_bytes = 0, all_bytes = 0;
  const std::vector<CheckpointTensor> tensors = model_tensors(decoder);
  for (const CheckpointTensor& t : tensors) all_bytes += element_count(t.shape) * dtype_bytes(t.dtype);
  Progress progress({.label = label,
                     .total = all_bytes,
                     .unit = ProgressOptions::Unit::kBytes,
                     .style = default_progress_style(0),
                     .width = terminal_width()});
  std::vector<PieceView> pieces;
  for (const CheckpointTensor& t : tensors) {
    const auto it = unread.find(name_in_model(t.name));
    if (it == unread.end()) user_error("'{}' lacks the tensor '{}'", source.path(), name_in_model(t.name));
    const size_t i = it->second;
    unread.erase(it);
    if (source.tensors()[i].shape != t.shape)
      user_error("'{}': tensor '{}' is [{}], the model needs [{}]", source.path(), source.tensors()[i].name,
                 fmt::join(source.tensors()[i].shape, ", "), fmt::join(t.shape, ", "));
    pieces.push_back({t, Region::whole(Box::whole(t.shape)), nullptr, [&, t, i](void* dst) {
                        read_as(source, i, t.dtype, dst);
                        require_finite(source, t, dst);
                        done_bytes += element_count(t.shape) * dtype_bytes(t.dtype);
                        progress.update(done_bytes);
                      }});
  }
  if (!unread.empty()) user_error("'{}': tensor '{}' has no place in the model", source.path(), unread.begin()->first);

  CheckpointState state;
  state.config_text = print_config(config);
  state.mesh = "one process";
  state.version = SY_COMMIT;
  write_checkpoint(folder + "/checkpoints", state, pieces);
  write_file_atomically(folder + "/config.yaml", state.config_text);
}

std::string first_model_difference(const Config& there, const Config& here) {
  const auto precision = [](const Config& c) { return accumulation_dtype(training_dtype(c.train.dtype)); };
  const std::string difference = first_config_difference(model_text(there), model_text(here), kFree);
  if (!difference.empty() || precision(there) == precision(here)) return difference;
  return fmt::format("weights are {} there and, by train.dtype, {} here", dtype_name(precision(there)),
                     dtype_name(precision(here)));
}

void load_pretrained(Context& ctx, Decoder& decoder, const Config& config, const CheckpointReader& reader) {
  const std::string difference = first_model_difference(config_of(reader), config);
  if (!difference.empty())
    user_error("checkpoint.pretrained_checkpoint: '{}' holds another model: {}", reader.directory(), difference);
  require_model(reader, decoder);
  load_model(ctx, decoder, reader);
}

std::string start_from_pretrained(Context& ctx, Decoder& decoder, const Config& config) {
  const std::string& given = config.checkpoint.pretrained_checkpoint;
  if (given.empty()) return "";
  Comm& world = ctx.mesh->world();
  std::string directory;
  on_root(world, [&] { directory = resolve_checkpoint(given); });
  directory = world.broadcast_string(directory, 0);
  load_pretrained(ctx, decoder, config, CheckpointReader(directory));
  return directory;
}

}  // namespace sy
