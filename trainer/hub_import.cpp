#include "trainer/hub_import.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>

#include "csrc/io/file.h"
#include "csrc/io/safetensors_folder.h"
#include "csrc/models/family.h"
#include "trainer/checkpointing.h"
#include "trainer/new_folder.h"
#include "trainer/session.h"
#include "trainer/tokenizer_files.h"
#include "trainer/weights_checkpoint.h"

namespace fs = std::filesystem;

namespace sy {

namespace {

// The foreign tensors under our names, without derived ones. One without a place keeps its name, by which the writer of
// the checkpoint refuses it; one that holds several of ours stands here as these.
class Renamed final : public TensorSource {
 public:
  Renamed(const ForeignModel& foreign, Decoder& model) : foreign_(foreign) {
    std::map<std::string, std::vector<SourceTensor>> ours_of;  // in the model's order
    for (const CheckpointTensor& t : model_tensors(model)) {
      const std::string ours = name_in_model(t.name);
      ours_of[foreign.name_in_source(ours)].push_back({ours, t.dtype, t.shape});
    }
    for (size_t i = 0; i < foreign.tensors->tensors().size(); ++i) {
      const SourceTensor& tensor = foreign.tensors->tensors()[i];
      if (foreign.is_derived(tensor.name)) continue;
      if (const auto ours = ours_of.extract(tensor.name); !ours.empty()) {
        add(tensor, i, ours.mapped());
      } else {
        tensors_.push_back(tensor);
        places_.push_back({i, 0});
      }
    }
    if (!ours_of.empty()) user_error("'{}' lacks the tensor '{}'", foreign.path, ours_of.begin()->first);
  }
  std::string path() const override { return foreign_.path; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override {
    const Place& place = places_.at(i);
    const SourceTensor& whole = foreign_.tensors->tensors()[place.tensor];
    const int64_t count = element_count(tensors_[i].shape), width = dtype_bytes(whole.dtype);
    if (count == element_count(whole.shape)) return foreign_.tensors->read(place.tensor, dst);
    // Stacked ones are asked for one after the other: each stack is read once.
    if (held_ != place.tensor) {
      held_bytes_.resize(static_cast<size_t>(element_count(whole.shape) * width));
      foreign_.tensors->read(place.tensor, held_bytes_.data());
      held_ = place.tensor;
    }
    std::memcpy(dst, held_bytes_.data() + place.first * width, static_cast<size_t>(count * width));
  }

 private:
  struct Place {
    size_t tensor;  // of the foreign source
    int64_t first;  // element there
  };
  void add(const SourceTensor& tensor, size_t i, const std::vector<SourceTensor>& ours) {
    const Shape& each = ours.front().shape;
    const Shape stacked = foreign_.shape_in_source(tensor.name, std::ssize(ours), each);
    // The shape of one that stands by itself is checked by the writer.
    if (stacked != each && stacked != tensor.shape)
      user_error("'{}': tensor '{}' is {}, the model needs {}", foreign_.path, tensor.name, shape_string(tensor.shape),
                 shape_string(stacked));
    int64_t first = 0;
    for (const SourceTensor& t : ours) {
      tensors_.push_back({t.name, tensor.dtype, stacked == each ? tensor.shape : t.shape});
      places_.push_back({i, first});
      first += element_count(t.shape);
    }
  }

  const ForeignModel& foreign_;
  std::vector<SourceTensor> tensors_;
  std::vector<Place> places_;
  mutable size_t held_ = std::numeric_limits<size_t>::max();
  mutable std::vector<std::byte> held_bytes_;
};

DType widest_dtype(const TensorSource& source) {
  bool has_f32 = false;
  for (const SourceTensor& t : source.tensors()) {
    if (t.dtype == DType::f64) return DType::f64;
    has_f32 = has_f32 || t.dtype == DType::f32;
  }
  return has_f32 ? DType::f32 : DType::bf16;
}

// The smallest legal run on the model: what a user of config.yaml changes.
Config config_of(const ForeignModel& foreign, const std::string& out, DType dtype) {
  HubJson run = HubJson::parse(foreign.sections);
  const HubJson longest = run["model"].value("max_position_embeddings", HubJson());
  run["train"] = {{"train_iters", 1},
                  {"global_batch_size", 1},
                  {"seq_length", longest.is_number_integer() ? std::min<int64_t>(longest.get<int64_t>(), 2048) : 1},
                  {"eval_iters", 0},
                  {"dtype", dtype_name(dtype)}};
  run["optimizer"] = {{"lr", 1e-5}, {"lr_decay_style", "constant"}};
  const fs::path folder(out);
  if (foreign.has_tokenizer()) run["data"] = {{"tokenizer", (folder / "tokenizer.json").string()}};
  run["checkpoint"] = {{"pretrained_checkpoint", folder.string()}};
  Config config = parse_config(run.dump(), foreign.path, {}, /*num_ranks=*/0);
  config.logging.run_dir.clear();
  return config;
}

}  // namespace

ImportReport import_model(const ForeignModel& foreign, const std::string& out, std::optional<DType> dtype) {
  ImportReport report;
  report.dtype = dtype.value_or(widest_dtype(*foreign.tensors));
  const Config config = config_of(foreign, out, report.dtype);
  Context meta(DeviceType::meta);
  Decoder model(meta, config.model, config.moe, {.dtype = report.dtype});
  const Renamed source(foreign, model);
  NewFolder folder(out);
  write_weights_checkpoint(folder.directory(), config, source, "convert");
  if (!foreign.tokenizer_path.empty()) copy_tokenizer(foreign.tokenizer_path, folder.directory());
  for (const auto& [name, text] : foreign.tokenizer_files) write_file_atomically(folder.file(name), text);
  folder.publish();
  report.tensors = std::ssize(source.tensors());
  report.parameters = model.total_parameters();
  return report;
}

ForeignModel open_hub_folder(const std::string& folder) {
  const auto file = [&](const char* name) { return (fs::path(folder) / name).string(); };
  const HubModel hub = read_hub_config(read_text_file(file("config.json")), file("config.json"));
  ForeignModel foreign;
  foreign.path = folder;
  foreign.description = "model_type " + hub.model_type;
  foreign.sections = hub.sections.dump();
  foreign.tensors = std::make_unique<SafetensorsFolder>(folder);
  const std::shared_ptr<Family> family = make_family(hub.model_type, folder);
  foreign.name_in_source = [family](const std::string& ours) { return family->name_in_file(ours); };
  foreign.shape_in_source = [family](const std::string& name, int64_t count, const Shape& each) {
    return family->shape_in_file(name, count, each);
  };
  // Old files of Llama hold the rotary frequencies, which follow from config.json.
  foreign.is_derived = [](const std::string& name) { return name.ends_with(".self_attn.rotary_emb.inv_freq"); };
  if (fs::exists(file("tokenizer.json"))) foreign.tokenizer_path = file("tokenizer.json");
  return foreign;
}

}  // namespace sy
