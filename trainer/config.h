// The whole configuration of a run: one YAML file, one struct per section.
#pragma once

#include <string>
#include <vector>

#include "csrc/core/fields.h"
#include "csrc/models/model_config.h"
#include "trainer/data_config.h"
#include "trainer/train_config.h"

namespace sy {

// A section is added by a member here, a line in describe(), and a new docs/reference/config.md.
struct Config {
  ModelConfig model;
  MoeConfig moe;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  ParallelConfig parallel;
  CommConfig comm;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
  DeviceConfig device;
};

// All sections and the checks across them.
void describe(Config& config, Fields& fields);

// Reads a YAML file and overrides ("train.lr=1e-3", applied in order), fills in what depends on the file's name (the
// run folder) and checks that `num_ranks` ranks can share the model and a batch (0: however many there will be).
// UserError names file and line.
Config load_config(const std::string& path, const std::vector<std::string>& overrides, int64_t num_ranks = 1);
// The same from text; `name` stands for the path.
Config parse_config(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                    int64_t num_ranks = 1);

// YAML text that load_config reads back to an equal Config.
std::string print_config(const Config& config);

// docs/reference/config.md: every key with type, default, rule and meaning.
std::string config_reference();

}  // namespace sy
