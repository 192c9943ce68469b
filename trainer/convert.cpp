#include "trainer/convert.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "trainer/gguf_import.h"
#include "trainer/hub_export.h"
#include "trainer/hub_import.h"
#include "trainer/progress.h"

namespace sy {

namespace {

void export_checkpoint(const std::string& path, const std::string& out, std::optional<DType> dtype) {
  const CheckpointReader reader(resolve_checkpoint(path));
  const ConvertReport report = convert_checkpoint(reader, out, dtype);
  if (!report.without_family.empty())
    fmt::print("model_type is {}, as no Hugging Face family is this model ({})\n", report.model_type,
               report.without_family);
  if (!report.without_tokenizer.empty())
    fmt::print("without tokenizer.json and eos_token_id: {}\n", report.without_tokenizer);
  fmt::print("{}: {} tensors, {}, {}, model_type {}, of step {}\n", out, report.tensors,
             format_bytes(static_cast<double>(report.file_bytes)), dtype_name(report.dtype), report.model_type,
             reader.state().step);
}

void import_foreign(const ForeignModel& foreign, const std::string& out, std::optional<DType> dtype) {
  const ImportReport report = import_model(foreign, out, dtype);
  fmt::print("{}: {} tensors, {} parameters, train.dtype {}, from {}; {}\n", out, report.tensors, report.parameters,
             dtype_name(report.dtype), foreign.description,
             foreign.has_tokenizer() ? "with its tokenizer.json"
                                     : "there is no tokenizer.json, so that data.tokenizer is bytes");
}

}  // namespace

int run_convert(int argc, char** argv, Comm& comm) {
  CLI::App app("Hugging Face folder or GGUF file to checkpoint, checkpoint to Hugging Face folder",
               "switchyard convert");
  std::string path, out, dtype, to;
  app.add_option(
         "source", path,
         "a Hugging Face folder (config.json and safetensors) or a .gguf file, or a run folder, its checkpoints "
         "folder or one step directory")
      ->required();
  app.add_option("out", out, "the new folder")->required();
  app.add_option("--to", to, "what is made; default: the other of what the source is")
      ->check(CLI::IsMember({"hf", "switchyard"}));
  app.add_option("--dtype", dtype,
                 "to hf: type of the weights (router: at least f32), default the training type; to switchyard: "
                 "train.dtype, default the widest type of the source (weights are kept exactly)")
      ->check(CLI::IsMember({"bf16", "f32"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (comm.size() > 1) user_error("`switchyard convert` runs on one process, not on {}", comm.size());
  std::optional<DType> type;
  if (!dtype.empty()) type = dtype == "bf16" ? DType::bf16 : DType::f32;
  const bool is_hub = std::filesystem::exists(std::filesystem::path(path) / "config.json");
  const bool is_gguf = path.ends_with(".gguf");
  if (to == (is_hub || is_gguf ? "hf" : "switchyard"))
    user_error("--to {}: '{}' {}", to, path,
               is_hub    ? "is a Hugging Face folder already"
               : is_gguf ? "becomes a checkpoint first; convert that to hf"
                         : "is no Hugging Face folder, it has no config.json");
  if (is_hub) import_foreign(open_hub_folder(path), out, type);
  else if (is_gguf) import_foreign(open_gguf(path), out, type);
  else export_checkpoint(path, out, type);
  return 0;
}

}  // namespace sy
