#include "trainer/derived_model.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "trainer/dry_run.h"
#include "trainer/evaluate.h"
#include "trainer/new_folder.h"
#include "trainer/progress.h"
#include "trainer/step_replay.h"
#include "trainer/trained_model.h"
#include "trainer/weights_checkpoint.h"

namespace sy {

namespace {

using Json = nlohmann::ordered_json;

// Mean loss of a checkpoint on the recipe's validation text, on this process's CPU.
EvalReport held_out_loss(const RecipeConfig& recipe, const std::string& directory) {
  const TrainedModel model = load_trained_model(directory, DeviceType::cpu);
  const TrainConfig& train = model.config.train;
  DataConfig data = model.config.data;
  data.data_path = data.train_data_path = data.test_data_path = {};
  data.valid_data_path = recipe.valid_data_path;
  const auto sets = open_eval_data(data, Split::kValid, train.seq_length, model.config.model.vocab_size);
  return evaluate(*model.ctx, *model.decoder, sets, *model.tokenizer, train.seq_length, train.micro_batch_size,
                  recipe.eval_windows);
}

// Of one rank that holds the whole model, by the model that `inspect --replay` uses.
double modelled_step_seconds(const Config& config, const std::string& hardware) {
  StepTrace trace;
  dry_run(config, /*num_ranks=*/0, &trace);
  return replay_step(trace, config, /*num_ranks=*/0, hardware).step_seconds;
}

Json record(const Derivation& d, const std::string& lineage_hash) {
  Json inputs = Json::array();
  for (const StoredModel& m : *d.inputs)
    inputs.push_back({{"path", m.path()}, {"step", m.reader().state().step}, {"index_xxh64", m.hash()}});
  Json out = {{"command", d.command}, {"inputs", inputs}, {"recipe", d.recipe_text}};
  if (!lineage_hash.empty()) out["lineage_xxh64"] = lineage_hash;
  return out;
}

int64_t bytes_below(const std::string& folder) {
  int64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

std::string size_text(const Config& config) {
  const ModelSize size = model_size(config);
  const auto millions = [](int64_t n) { return fmt::format("{:.3f} M", static_cast<double>(n) / 1e6); };
  if (!config.moe.is_moe()) return millions(size.total_parameters);
  return fmt::format("{} ({} active)", millions(size.total_parameters), millions(size.active_parameters));
}

void print_report(const Derivation& d, const DerivationReport& report) {
  fmt::print("{}: {}, {} parameters\n", d.recipe->output, format_bytes(static_cast<double>(report.file_bytes)),
             size_text(d.config));
  for (size_t i = 0; i < d.inputs->size(); ++i) {
    const StoredModel& m = (*d.inputs)[i];
    fmt::print("  from {} at step {}, {} parameters{}\n", m.path(), m.reader().state().step, size_text(m.config()),
               report.losses.empty() ? "" : fmt::format(", loss {:.6f}", report.losses[i]));
  }
  if (!report.losses.empty())
    fmt::print("  loss before any training {:.6f}, on the same {} tokens\n", report.losses.back(), report.loss_tokens);
  if (!d.hardware.empty())
    fmt::print("  one step of {} tokens on one rank {:.3g} s, of {} {:.3g} s; modelled from {}, not measured\n",
               d.config.train.global_batch_size * d.config.train.seq_length, report.step_seconds.back(),
               d.inputs->front().path(), report.step_seconds.front(), d.hardware);
  if (!report.lineage_hash.empty()) fmt::print("  lineage {}\n", report.lineage_hash);
  if (!d.remark.empty()) fmt::print("  {}\n", d.remark);
  fmt::print("  train it on with `switchyard train {}/config.yaml`\n", d.recipe->output);
}

}  // namespace

Config derived_config(const Config& parent, const std::string& output) {
  Config config = parent;
  config.checkpoint.load = "auto";
  config.checkpoint.pretrained_checkpoint = output;
  config.logging.run_dir = output + "/run";
  return config;
}

DerivationReport write_derived_model(const Derivation& d) {
  DerivationReport report;
  if (!d.hardware.empty()) {
    for (const StoredModel& m : *d.inputs) report.step_seconds.push_back(modelled_step_seconds(m.config(), d.hardware));
    report.step_seconds.push_back(modelled_step_seconds(d.config, d.hardware));
  }
  NewFolder folder(d.recipe->output);
  write_weights_checkpoint(folder.directory(), d.config, *d.source, d.command);
  if (d.write_lineage) {
    d.write_lineage(folder.file("lineage.safetensors"));
    report.lineage_hash = hash_of_file(folder.file("lineage.safetensors"));
  }
  if (!d.recipe->valid_data_path.empty()) {
    const auto score = [&](const std::string& directory) {
      const EvalReport scored = held_out_loss(*d.recipe, directory);
      report.losses.push_back(scored.loss);
      report.loss_tokens = scored.tokens;
    };
    for (const StoredModel& m : *d.inputs) score(m.reader().directory());
    score(folder.directory());
  }
  write_file_atomically(folder.file("derivation.json"), record(d, report.lineage_hash).dump(2) + "\n");
  report.file_bytes = bytes_below(folder.directory());
  folder.publish();
  print_report(d, report);
  return report;
}

}  // namespace sy
