#include "trainer/trained_model.h"

#include "csrc/io/checkpoint.h"
#include "trainer/checkpointing.h"

namespace sy {

TrainedModel load_trained_model(const std::string& path, std::optional<DeviceType> device) {
  const CheckpointReader reader(resolve_checkpoint(path));
  TrainedModel model;
  model.directory = reader.directory();
  model.config = config_of(reader);
  if (device) model.config.device.type = *device;
  const Config& config = model.config;
  model.comm = make_single_comm();
  model.mesh = std::make_unique<Mesh>(*model.comm, MeshSizes{});
  model.ctx = make_context(config, *model.mesh);
  model.decoder = std::make_unique<Decoder>(
      *model.ctx, config.model, config.moe,
      DecoderOptions{.dtype = training_dtype(config.train.dtype), .seed = static_cast<uint64_t>(config.train.seed)});
  load_checkpoint(*model.ctx, *model.decoder, nullptr, reader);
  model.tokenizer = make_tokenizer(config.data.tokenizer, config.model.vocab_size);
  return model;
}

}  // namespace sy
