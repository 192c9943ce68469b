// The sections of a training run that are not the model or the data; keys as in Megatron.
#pragma once

#include <cstdint>
#include <string>

#include "csrc/core/allocator.h"
#include "csrc/core/fields.h"
#include "csrc/nn/parameter.h"
#include "parallel/mesh.h"
#include "trainer/schedule.h"

namespace sy {

enum class ComputeType { kF32, kBf16, kF64 };
enum class Recompute { kNone, kFull };

struct TrainConfig {
  int64_t train_iters = 0;
  int64_t micro_batch_size = 1;
  int64_t global_batch_size = 0;
  int64_t seq_length = 0;
  int64_t eval_iters = 10;
  int64_t eval_interval = 0;
  int64_t seed = 1234;
  ComputeType dtype = ComputeType::kF32;
  Recompute recompute = Recompute::kNone;

  bool operator==(const TrainConfig&) const = default;
};

// Which parameters weight decay pulls towards zero. Norm weights: every RMSNorm.
enum class DecayGroups { kMatrices, kMatricesAndEmbeddings, kAll };

struct OptimizerConfig {
  double lr = 0;
  double min_lr = 0;
  LrDecayStyle lr_decay_style = LrDecayStyle::kCosine;
  int64_t lr_warmup_iters = 0;
  int64_t lr_decay_iters = 0;
  int64_t lr_wsd_decay_iters = 0;
  WsdDecayStyle lr_wsd_decay_style = WsdDecayStyle::kLinear;
  double weight_decay = 0.1;
  DecayGroups weight_decay_on = DecayGroups::kMatricesAndEmbeddings;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_eps = 1e-8;
  double clip_grad = 1;

  bool operator==(const OptimizerConfig&) const = default;
};

struct ParallelConfig {
  int64_t tensor_model_parallel_size = 1;
  int64_t pipeline_model_parallel_size = 1;
  int64_t context_parallel_size = 1;
  int64_t expert_model_parallel_size = 1;
  int64_t expert_tensor_parallel_size = 1;
  bool sequence_parallel = true;
  int64_t dispatch_chunks = 1;
  int64_t ddp_bucket_size = kBucketElements;

  bool operator==(const ParallelConfig&) const = default;
};

struct CommConfig {
  CommBackend backend = CommBackend::kAuto;
  bool debug = false;
  int64_t report_after_s = 60;
  int64_t abort_after_s = 1800;

  bool operator==(const CommConfig&) const = default;
};

struct CheckpointConfig {
  int64_t save_interval = 0;
  int64_t keep_last_n = 2;
  std::string load = "auto";
  std::string pretrained_checkpoint;

  bool operator==(const CheckpointConfig&) const = default;
};

struct LoggingConfig {
  std::string run_dir;
  int64_t log_interval = 10;
  int64_t expert_divergence_interval = 0;
  bool tensorboard = true;

  bool operator==(const LoggingConfig&) const = default;
};

struct DeviceConfig {
  DeviceType type = DeviceType::cpu;
  int64_t threads = 0;
  double peak_tflops = 0;

  bool operator==(const DeviceConfig&) const = default;
};

void describe(TrainConfig& config, Fields& fields);
void describe(OptimizerConfig& config, Fields& fields);
void describe(ParallelConfig& config, Fields& fields);
void describe(CommConfig& config, Fields& fields);
void describe(CheckpointConfig& config, Fields& fields);
void describe(LoggingConfig& config, Fields& fields);
void describe(DeviceConfig& config, Fields& fields);

// The schedule of a run: lr_decay_iters 0 means the whole run.
Schedule make_schedule(const OptimizerConfig& optimizer, const TrainConfig& train);

}  // namespace sy
