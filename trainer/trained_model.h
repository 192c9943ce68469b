// A checkpoint opened for use: its model on one rank, whatever layout trained it, with its context and tokenizer.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "csrc/io/tokenizer.h"
#include "csrc/models/decoder.h"
#include "trainer/config.h"
#include "trainer/session.h"

namespace sy {

struct TrainedModel {
  std::string directory;  // of the checkpoint's step
  Config config;
  std::unique_ptr<Comm> comm;
  std::unique_ptr<Mesh> mesh;
  std::unique_ptr<Context> ctx;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<Tokenizer> tokenizer;
};

// `path`: a run folder, its checkpoints folder or one step directory. On the device of its configuration or on
// `device`.
TrainedModel load_trained_model(const std::string& path, std::optional<DeviceType> device = {});

}  // namespace sy
