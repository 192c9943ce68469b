#include "trainer/inspect.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "csrc/io/checkpoint.h"
#include "csrc/io/indexed_dataset.h"
#include "trainer/config.h"
#include "trainer/dry_run.h"
#include "trainer/layout.h"
#include "trainer/progress.h"
#include "trainer/step_replay.h"

namespace sy {

namespace {

// "1.32 B", "6.9 M".
std::string count_text(double n) {
  if (n >= 1e9) return fmt::format("{:.2f} B", n * 1e-9);
  if (n >= 1e6) return fmt::format("{:.2f} M", n * 1e-6);
  return fmt::format("{:.0f}", n);
}

// "12.3 ms"
std::string time_text(double seconds) {
  return seconds >= 1 ? fmt::format("{:.3g} s", seconds) : fmt::format("{:.3g} ms", 1e3 * seconds);
}

void print_replay(const StepReplay& replay, const std::string& hardware) {
  fmt::print("  one step of rank 0    {}; durations are modelled from {}, not measured\n",
             time_text(replay.step_seconds), hardware);
  fmt::print("    computation         {} ({} of it in {} matrix products, of {} kernels)\n",
             time_text(replay.compute_seconds), time_text(replay.product_seconds), replay.products, replay.kernels);
  fmt::print("    waits               {}, of {} that transfers take\n", time_text(replay.exposed_seconds),
             time_text(replay.transfer_seconds));
  for (const ReplayedTransfers& t : replay.transfers)
    fmt::print("      {:<18}{} of {} in {} transfers, {} leave; the longest {}, number {}\n", t.what,
               time_text(t.exposed_seconds), time_text(t.seconds), t.count, format_bytes(t.bytes),
               time_text(t.longest_wait_seconds), t.longest_wait_number);
}

nlohmann::json replay_json(const StepReplay& replay, const std::string& hardware) {
  nlohmann::json out = {{"modelled_from", hardware},
                        {"step_seconds", replay.step_seconds},
                        {"compute_seconds", replay.compute_seconds},
                        {"transfer_seconds", replay.transfer_seconds},
                        {"exposed_seconds", replay.exposed_seconds}};
  for (const ReplayedTransfers& t : replay.transfers) out["exposed_seconds_by_kind"][t.what] = t.exposed_seconds;
  return out;
}

void inspect_config(const std::string& path, const std::vector<std::string>& overrides, int64_t num_ranks,
                    const std::string& hardware, bool as_json) {
  const Config config = load_config(path, overrides, num_ranks);
  StepTrace trace;
  const DryRun dry = dry_run(config, num_ranks, hardware.empty() ? nullptr : &trace);
  const StepReplay replay = hardware.empty() ? StepReplay{} : replay_step(trace, config, num_ranks, hardware);
  if (as_json) {
    nlohmann::json out = {{"total_parameters", dry.model.total_parameters},
                          {"active_parameters", dry.model.active_parameters},
                          {"training_flops_per_token", dry.model.training_flops_per_token},
                          {"peak_bytes", dry.memory.total_peak_bytes}};
    for (int k = 0; k < kNumMemoryKinds; ++k)
      out["peak_bytes_by_kind"][memory_kind_name(static_cast<MemoryKind>(k))] =
          dry.memory.peak_bytes[static_cast<std::size_t>(k)];
    if (!hardware.empty()) out["replay"] = replay_json(replay, hardware);
    fmt::print("{}\n", out.dump());
    return;
  }
  fmt::print("{}\n", path);
  fmt::print("  parameters            {} total, {} active per token\n",
             count_text(static_cast<double>(dry.model.total_parameters)),
             count_text(static_cast<double>(dry.model.active_parameters)));
  fmt::print("  layers                {} ({} of them MoE)\n", config.model.num_hidden_layers, dry.moe_layers);
  fmt::print("  training FLOPs        {:.4g} per token, {:.4g} per step of {} tokens\n",
             dry.model.training_flops_per_token,
             dry.model.training_flops_per_token *
                 static_cast<double>(config.train.global_batch_size * config.train.seq_length),
             config.train.global_batch_size * config.train.seq_length);
  if (num_ranks > 0) fmt::print("  layout                {}\n", describe(mesh_sizes(config.parallel, num_ranks)));
  fmt::print("  peak bytes, one rank  {} (micro-batch of {} x {} tokens)\n",
             format_bytes(static_cast<double>(dry.memory.total_peak_bytes)), config.train.micro_batch_size,
             config.train.seq_length);
  for (int k = 0; k < kNumMemoryKinds; ++k)
    fmt::print("    {:<20}{}\n", memory_kind_name(static_cast<MemoryKind>(k)),
               format_bytes(static_cast<double>(dry.memory.peak_bytes[static_cast<std::size_t>(k)])));
  if (!hardware.empty()) print_replay(replay, hardware);
}

void inspect_checkpoint(const std::string& path) {
  const CheckpointReader reader(resolve_checkpoint(path));
  reader.verify_checksums();
  fmt::print("{}\n  step {}, {} samples, written by {} on {}\n  checksums and tiling verified\n", reader.directory(),
             reader.state().step, reader.state().consumed_samples, reader.state().version, reader.state().mesh);
  for (const CheckpointTensor& t : reader.tensors())
    fmt::print("  {:<5} {:<24} {}\n", dtype_name(t.dtype), shape_string(t.shape),
               t.part.empty() ? t.name : t.name + " / " + t.part);
}

void inspect_dataset(const std::string& prefix) {
  const IndexedDataset dataset(prefix);
  fmt::print("{}\n  {} tokens in {} sequences, {} documents, stored as {}\n", prefix, dataset.num_tokens(),
             dataset.num_sequences(), dataset.num_documents(), token_dtype_name(dataset.dtype()));
}

}  // namespace

int run_inspect(int argc, char** argv) {
  CLI::App app("Report what a config would need (parameters, FLOPs, bytes), or what a checkpoint or dataset holds",
               "switchyard inspect");
  std::string path, hardware;
  std::vector<std::string> overrides;
  bool as_json = false;
  int64_t num_ranks = 0;
  app.add_option("path", path, "a YAML config, a run or checkpoint folder, or a dataset prefix (.bin/.idx)")
      ->required();
  app.add_option("overrides", overrides, "section.key=value, for a config");
  app.add_option("--ranks", num_ranks, "bytes of rank 0 of this many, in the config's layout; 0: one rank holds all")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--replay", hardware,
                 "a cost file (configs/hardware/): the time of a step of that layout, and what of its transfers "
                 "computation waits for, modelled");
  app.add_flag("--json", as_json, "one line of json (configs)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  namespace fs = std::filesystem;
  const bool is_config = path.ends_with(".yaml") || path.ends_with(".yml");
  if (!is_config && !hardware.empty()) user_error("--replay is for a YAML config, '{}' is none", path);
  if (is_config) inspect_config(path, overrides, num_ranks, hardware, as_json);
  else if (fs::is_directory(path)) inspect_checkpoint(path);
  else if (fs::exists(path + ".idx")) inspect_dataset(path);
  else if (path.ends_with(".bin") || path.ends_with(".idx")) inspect_dataset(path.substr(0, path.size() - 4));
  else user_error("'{}' is not a YAML config, a checkpoint folder or a dataset prefix", path);
  return 0;
}

}  // namespace sy
