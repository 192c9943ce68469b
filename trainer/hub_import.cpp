#include "trainer/hub_import.h"

#include <algorithm>
#include <filesystem>
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
// the checkpoint refuses it.
class Renamed final : public TensorSource {
 public:
  Renamed(const ForeignModel& foreign, Decoder& model) : foreign_(foreign) {
    std::map<std::string, std::string> ours_of;
    for (const CheckpointTensor& t : model_tensors(model))
      ours_of[foreign.name_in_source(name_in_model(t.name))] = name_in_model(t.name);
    std::map<std::string, std::string> missing = ours_of;
    for (size_t i = 0; i < foreign.tensors->tensors().size(); ++i) {
      SourceTensor tensor = foreign.tensors->tensors()[i];
      if (foreign.is_derived(tensor.name)) continue;
      missing.erase(tensor.name);
      if (const auto it = ours_of.find(tensor.name); it != ours_of.end()) tensor.name = it->second;
      tensors_.push_back(std::move(tensor));
      place_.push_back(i);
    }
    if (!missing.empty()) user_error("'{}' lacks the tensor '{}'", foreign.path, missing.begin()->first);
  }
  std::string path() const override { return foreign_.path; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override { foreign_.tensors->read(place_.at(i), dst); }

 private:
  const ForeignModel& foreign_;
  std::vector<SourceTensor> tensors_;
  std::vector<size_t> place_;  // in the foreign source
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
  const fs::path folder = fs::absolute(out).lexically_normal();
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
  write_weights_checkpoint(folder.directory(), config, source);
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
  foreign.name_in_source = [family = std::shared_ptr<Family>(make_family(hub.model_type, folder))](
                               const std::string& ours) { return family->name_in_file(ours); };
  // Old files of Llama hold the rotary frequencies, which follow from config.json.
  foreign.is_derived = [](const std::string& name) { return name.ends_with(".self_attn.rotary_emb.inv_freq"); };
  if (fs::exists(file("tokenizer.json"))) foreign.tokenizer_path = file("tokenizer.json");
  return foreign;
}

}  // namespace sy
