#include "trainer/hub_export.h"

#include <algorithm>
#include <map>
#include <set>

#include "csrc/io/tensor_source.h"
#include "csrc/io/tokenizer.h"
#include "csrc/models/family.h"
#include "trainer/checkpointing.h"
#include "trainer/config.h"
#include "trainer/new_folder.h"
#include "trainer/progress.h"
#include "trainer/session.h"
#include "trainer/tokenizer_files.h"

namespace sy {

namespace {

const char* torch_dtype(DType dtype) {
  return dtype == DType::bf16 ? "bfloat16" : dtype == DType::f64 ? "float64" : "float32";
}

// `tokenizer`: nullptr if there is none.
HubJson hub_config(const Config& config, Decoder& decoder, const Family& family, const Tokenizer* tokenizer,
                   const ConvertReport& report) {
  HubJson out;
  if (!family.architecture().empty()) out["architectures"] = HubJson::array({family.architecture()});
  out["model_type"] = report.model_type;
  out["torch_dtype"] = torch_dtype(report.dtype);
  out.update(family.hub_keys(decoder));
  if (tokenizer != nullptr && tokenizer->eod_id() < config.model.vocab_size) out["eos_token_id"] = tokenizer->eod_id();
  return out;
}

// What to write, and where it stands in the checkpoint.
struct Export {
  std::string stored;
  CheckpointTensor tensor;  // its stored type and shape
  SafetensorsWriter::Spec spec;
};

// True where bf16 holds every value as it is.
bool fits_bf16(const CheckpointReader& reader, const ParameterPart& part, DType stored) {
  return dispatch_accumulation(stored, [&]<class A>() {
    std::vector<A> values(static_cast<std::size_t>(element_count(part.shape)));
    reader.read_box(part.name, "", Box::whole(part.shape), values.data());
    return std::all_of(values.begin(), values.end(),
                       [](A x) { return static_cast<A>(bf16(static_cast<float>(x))) == x; });
  });
}

std::vector<Export> exports(const CheckpointReader& reader, Decoder& trained, Decoder& exported, const Family& family) {
  // The checkpoint holds exactly this model's tensors, so that it holds nothing but these and, unless it holds weights
  // only, the moments and what only training reads.
  require_model(reader, trained);
  const bool weights_only = is_weights_only(reader);
  std::vector<Export> all;
  std::set<std::string> open;
  for (const CheckpointTensor& t : reader.tensors())
    if (!t.name.starts_with("optimizer.")) open.insert(t.name);
  const auto add = [&](const std::string& stored, const std::string& name, DType from, DType to, const Shape& shape) {
    SY_CHECK(open.erase(stored) == 1, "'{}' is to be written twice", stored);
    all.push_back({stored, {stored, "", from, shape}, {name, to, shape}});
  };
  for (std::size_t i = 0; i < exported.parameters().all().size(); ++i) {
    const Parameter &to = exported.parameters().all()[i], &from = trained.parameters().all()[i];
    const DType stored = accumulation_dtype(from.value.dtype()), weights = exported.options().dtype;
    for (const ParameterPart& part : to.parts) {
      // What must stay exact does so in fewer bits where they suffice: a model that came in bf16 goes as it came.
      const bool is_kept = to.value.dtype() != weights;
      const bool is_narrow = is_kept && weights == DType::bf16 && fits_bf16(reader, part, stored);
      add(part.name, family.name_in_file(part.name), stored, is_narrow ? DType::bf16 : to.value.dtype(), part.shape);
    }
  }
  const auto states = trained.state(), states_out = exported.state();
  for (std::size_t i = 0; i < states.size(); ++i) {
    const std::string stored = "state." + states[i].name;
    if (states[i].in_model)
      add(stored, states[i].name, states[i].tensor.dtype(), states_out[i].tensor.dtype(), states[i].tensor.shape());
    else if (!weights_only) SY_CHECK(open.erase(stored) == 1, "'{}' stands twice in the model", stored);
  }
  SY_CHECK(open.empty(), "'{}' has no place in the exported file", *open.begin());
  return all;
}

// The file's tensors: those of one name are stacked.
std::vector<SafetensorsWriter::Spec> file_specs(const std::vector<Export>& all, const Family& family) {
  std::map<std::string, int64_t> counts;
  for (const Export& e : all) ++counts[e.spec.name];
  std::vector<SafetensorsWriter::Spec> specs;
  for (const Export& e : all) {
    const auto open = counts.extract(e.spec.name);
    if (open.empty()) continue;
    specs.push_back(e.spec);
    specs.back().shape = family.shape_in_file(e.spec.name, open.mapped(), e.spec.shape);
  }
  return specs;
}

// A whole tensor from the checkpoint, rounded once where the file has another type.
void write_tensor(const CheckpointReader& reader, const Export& e, SafetensorsWriter& writer) {
  const int64_t count = element_count(e.spec.shape);
  std::vector<std::byte> stored(static_cast<std::size_t>(count * dtype_bytes(e.tensor.dtype)));
  reader.read_box(e.stored, "", Box::whole(e.spec.shape), stored.data());
  if (e.tensor.dtype == e.spec.dtype) return writer.write(e.spec.name, stored.data(), std::ssize(stored));
  std::vector<std::byte> rounded(static_cast<std::size_t>(count * dtype_bytes(e.spec.dtype)));
  convert_elements(e.tensor.dtype, stored.data(), e.spec.dtype, rounded.data(), count);
  writer.write(e.spec.name, rounded.data(), std::ssize(rounded));
}

}  // namespace

ConvertReport convert_checkpoint(const CheckpointReader& reader, const std::string& out, std::optional<DType> dtype) {
  const Config config = config_of(reader);
  ConvertReport report;
  report.dtype = dtype.value_or(training_dtype(config.train.dtype));
  Context meta(DeviceType::meta);
  Decoder trained(meta, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
  Decoder exported(meta, config.model, config.moe, {.dtype = report.dtype});
  const FoundFamily found = find_family(exported);
  report.without_family = found.why_not;
  report.model_type = found.model_type.empty() ? kOwnModelType : found.model_type;
  const std::unique_ptr<Family> family = make_family(report.model_type, "");
  // The weights are no worse for a tokenizer that was moved since.
  std::unique_ptr<Tokenizer> tokenizer;
  try {
    tokenizer = make_tokenizer(config.data.tokenizer);
  } catch (const UserError& e) {
    report.without_tokenizer = e.what();
  }

  const std::vector<Export> all = exports(reader, trained, exported, *family);
  NewFolder folder(out);
  SafetensorsWriter writer(folder.file("model.safetensors"), file_specs(all, *family), {{"format", "pt"}});
  report.tensors = static_cast<int64_t>(all.size());
  report.file_bytes = writer.file_bytes();
  Progress progress({.label = "convert",
                     .total = report.file_bytes,
                     .unit = ProgressOptions::Unit::kBytes,
                     .style = default_progress_style(0),
                     .width = terminal_width()});
  int64_t done = 0;
  for (const Export& e : all) {
    write_tensor(reader, e, writer);
    done += element_count(e.spec.shape) * dtype_bytes(e.spec.dtype);
    progress.update(done);
  }
  writer.finish();  // throws if a tensor is not complete
  write_file_atomically(folder.file("config.json"),
                        hub_config(config, exported, *family, tokenizer.get(), report).dump(2) + "\n");
  if (tokenizer != nullptr) copy_tokenizer(config.data.tokenizer, folder.directory());
  folder.publish();
  return report;
}

}  // namespace sy
