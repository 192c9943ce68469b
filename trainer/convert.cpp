#include "trainer/convert.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "csrc/io/json_fields.h"
#include "csrc/io/tokenizer.h"
#include "trainer/checkpointing.h"
#include "trainer/config.h"
#include "trainer/new_folder.h"
#include "trainer/progress.h"
#include "trainer/session.h"

namespace sy {

namespace {

using Json = nlohmann::ordered_json;

template <class Section>
Json json_of(const Section& section) {
  Section copy = section;
  return Json::parse(json_fields([&](Fields& f) { describe(copy, f); }));
}

const char* const kQwen3Moe = "qwen3_moe";

// The first trait that Hugging Face's Qwen3-MoE does not have; "" if the model is one.
std::string why_not_qwen3_moe(const Config& config, Decoder& decoder) {
  const moe::MoeChoices& methods = config.moe.methods;
  if (!config.moe.is_moe()) return "a dense model";
  if (!config.model.use_qk_norm) return "model.use_qk_norm: false";
  if (config.moe.shared_expert_intermediate_size != 0) return "moe.shared_expert_intermediate_size";
  std::set<int64_t> counts, widths;
  for (const auto& block : decoder.moe_layers()) {
    const int64_t experts = block.moe->num_experts();
    counts.insert(experts);
    for (int64_t e = 0; e < experts; ++e) widths.insert(config.moe.expert_intermediate_size(e));
    if (block.moe->router().hub_model_type() != kQwen3Moe)
      return "moe.router: " + json_of(config.moe).at("router").dump();
    if (!block.moe->capacity().is_unlimited()) return "moe.capacity: " + methods.capacity.type();
  }
  if (counts.size() > 1) return "moe.num_experts_per_layer: several counts";
  if (widths.size() > 1) return "moe.expert_intermediate_sizes: several widths";
  if (!methods.hooks.items().empty()) return "moe.hooks: " + methods.hooks.items().front().type();
  return "";
}

const char* torch_dtype(DType dtype) {
  return dtype == DType::bf16 ? "bfloat16" : dtype == DType::f64 ? "float64" : "float32";
}

Json rope_scaling(const ModelConfig& model) {
  if (model.rope_scaling.type == RopeScalingType::kNone) return nullptr;
  const Json ours = json_of(model.rope_scaling);
  Json out;
  for (const auto& [key, value] : ours.items()) out[key == "type" ? "rope_type" : key] = value;
  return out;
}

Json hub_config(const Config& config, Decoder& decoder, const ConvertReport& report) {
  const bool is_family = report.without_family.empty();
  Json out;
  if (is_family) out["architectures"] = {"Qwen3MoeForCausalLM"};
  out["model_type"] = report.model_type;
  out["torch_dtype"] = torch_dtype(report.dtype);
  out["hidden_act"] = "silu";
  out["attention_bias"] = false;
  out.update(json_of(config.model));
  out.erase("pad_vocab_size_to");  // files hold no padding
  out["num_key_value_heads"] = config.model.kv_heads();
  out["head_dim"] = config.model.head_size();
  out["rope_scaling"] = rope_scaling(config.model);
  // No dense layer has it.
  if (config.model.intermediate_size == 0) out.erase("intermediate_size");
  const auto tokenizer = make_tokenizer(config.data.tokenizer);
  if (tokenizer->eod_id() < config.model.vocab_size) out["eos_token_id"] = tokenizer->eod_id();
  if (!config.moe.is_moe()) return out;

  const Json moe = json_of(config.moe);
  if (!is_family) {
    out.update(moe);
    // Hugging Face has the router's settings beside the rest.
    for (const auto& [key, value] : moe.at("router").items())
      if (key != "type") out[key] = value;
    return out;
  }
  out.erase("use_qk_norm");
  const int64_t experts = decoder.moe_layers().front().moe->num_experts();
  std::vector<int64_t> dense;
  for (int64_t layer = 0; layer < config.model.num_hidden_layers; ++layer)
    if (config.moe.num_experts_in_layer(layer) == 0) dense.push_back(layer);
  out["num_experts"] = experts;
  out["num_experts_per_tok"] = config.moe.num_experts_per_tok;
  out["moe_intermediate_size"] = config.moe.expert_intermediate_size(0);
  out["norm_topk_prob"] = moe.at("router").at("norm_topk_prob");
  out["decoder_sparse_step"] = 1;
  out["mlp_only_layers"] = dense;
  return out;
}

// What to write, and where it stands in the checkpoint.
struct Export {
  std::string stored;
  CheckpointTensor tensor;  // its stored type and shape
  SafetensorsWriter::Spec spec;
};

std::vector<Export> exports(const CheckpointReader& reader, Decoder& trained, Decoder& exported) {
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
    for (const ParameterPart& part : to.parts)
      add(part.name, part.name, accumulation_dtype(from.value.dtype()), to.value.dtype(), part.shape);
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

// A whole tensor from the checkpoint, rounded once where the file has another type.
void write_tensor(const CheckpointReader& reader, const Export& e, SafetensorsWriter& writer) {
  const int64_t count = element_count(e.spec.shape);
  std::vector<std::byte> stored(static_cast<std::size_t>(count * dtype_bytes(e.tensor.dtype)));
  reader.read_box(e.stored, "", Box::whole(e.spec.shape), stored.data());
  if (e.tensor.dtype == e.spec.dtype) return writer.write(e.spec.name, stored.data(), std::ssize(stored));
  dispatch_accumulation(e.tensor.dtype, [&]<class A>() {
    const auto* exact = reinterpret_cast<const A*>(stored.data());
    dispatch_float(e.spec.dtype, [&]<class T>() {
      std::vector<T> rounded(static_cast<std::size_t>(count));
      std::transform(exact, exact + count, rounded.begin(), [](A x) { return static_cast<T>(x); });
      writer.write(e.spec.name, rounded.data(), count * static_cast<int64_t>(sizeof(T)));
    });
  });
}

}  // namespace

ConvertReport convert_checkpoint(const CheckpointReader& reader, const std::string& out, std::optional<DType> dtype) {
  const Config config = parse_config(reader.state().config_text, reader.directory() + "/state.json", {},
                                     /*num_ranks=*/0);  // the layout that trained it does not matter
  ConvertReport report;
  report.dtype = dtype.value_or(training_dtype(config.train.dtype));
  Context meta(DeviceType::meta);
  Decoder trained(meta, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
  Decoder exported(meta, config.model, config.moe, {.dtype = report.dtype});
  report.without_family = why_not_qwen3_moe(config, exported);
  report.model_type = report.without_family.empty() ? kQwen3Moe : "switchyard";

  const std::vector<Export> all = exports(reader, trained, exported);
  std::vector<SafetensorsWriter::Spec> specs;
  for (const Export& e : all) specs.push_back(e.spec);
  NewFolder folder(out);
  SafetensorsWriter writer(folder.file("model.safetensors"), specs, {{"format", "pt"}});
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
  write_file_atomically(folder.file("config.json"), hub_config(config, exported, report).dump(2) + "\n");
  folder.publish();
  return report;
}

int run_convert(int argc, char** argv, Comm& comm) {
  CLI::App app("Export the model of a training checkpoint as a Hugging Face folder", "switchyard convert");
  std::string path, out, dtype;
  app.add_option("checkpoint", path, "a run folder, its checkpoints folder or one step directory")->required();
  app.add_option("out", out, "the new folder, for model.safetensors and config.json")->required();
  app.add_option("--dtype", dtype, "type of the weights; default: the training type (router: at least f32)")
      ->check(CLI::IsMember({"bf16", "f32"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (comm.size() > 1) user_error("`switchyard convert` runs on one process, not on {}", comm.size());
  const CheckpointReader reader(resolve_checkpoint(path));
  std::optional<DType> type;
  if (!dtype.empty()) type = dtype == "bf16" ? DType::bf16 : DType::f32;
  const ConvertReport report = convert_checkpoint(reader, out, type);
  if (!report.without_family.empty())
    fmt::print("model_type is {}: no Hugging Face family yet for {}\n", report.model_type, report.without_family);
  fmt::print("{}: {} tensors, {}, {}, model_type {}, of step {}\n", out, report.tensors,
             format_bytes(static_cast<double>(report.file_bytes)), dtype_name(report.dtype), report.model_type,
             reader.state().step);
  return 0;
}

}  // namespace sy
