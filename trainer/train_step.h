// One optimizer step: forward and backward over this rank's micro-batches, sums over ranks, AdamW, router state. All
// ranks of ctx's mesh take the step together.
//
// The story of DESIGN's data flow in one function, train_step.cpp: denominators -> micro-batches -> gradient sum ->
// norm, finite flag, update -> after_step hooks -> what there is to report.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "csrc/models/decoder.h"
#include "parallel/data_parallel.h"
#include "trainer/batch.h"
#include "trainer/optimizer.h"
#include "trainer/train_config.h"

namespace sy {

// What one step reports, equal on all ranks.
struct StepReport {
  double lm_loss = 0;                                        // nats per target token
  std::vector<std::pair<std::string, double>> extra_losses;  // "z_loss", ...
  double grad_norm = 0;
  bool skipped = false;       // loss or gradient not finite: nothing was updated
  int64_t stop_requests = 0;  // ranks that want to stop
  int64_t target_tokens = 0, batch_tokens = 0;
  int64_t dispatch_bytes = 0;  // of token rows sent to experts on other ranks, one way, over all layers and ranks
  struct MoeReport {
    int64_t layer = 0;
    double max_vio = 0;           // (largest load - mean load) / mean load, after capacity
    double entropy = 0;           // mean entropy of the router's probabilities, nats
    double dropped_fraction = 0;  // of the assignments asked for
    int64_t dead_experts = 0;     // without a single token in this step
    std::vector<int64_t> load;    // kept assignments per expert
  };
  std::vector<MoeReport> moe;
};

// Puts micro-batch `wave` of this rank into `builder`.
using FillMicroBatch = std::function<void(int64_t wave, BatchBuilder& builder)>;

class TrainStep {
 public:
  TrainStep(Context& ctx, Decoder& decoder, Optimizer& optimizer, int64_t seq_length);

  // `step` counts from 1. ctx.host_step_state.seed must be set. `wants_stop`: this rank has received a stop signal.
  StepReport run(int64_t step, double learning_rate, int64_t consumed_samples, int64_t num_waves,
                 const FillMicroBatch& fill, bool wants_stop = false);
  // After a step that was skipped: runs its batches forward again and names the first part of the model whose output is
  // not finite ("model.layers.3.mlp", see Decoder::observe), the earliest over all ranks; "" if every output is finite.
  // Every rank calls.
  std::string first_not_finite(int64_t num_waves, const FillMicroBatch& fill);

 private:
  void forward_backward(const Batch& batch, bool last);
  void gather_report(StepReport& report, bool wants_stop);

  Context& ctx_;
  Decoder& decoder_;
  Optimizer& optimizer_;
  DataParallel ranks_;
  LossSink sink_;
  Tape tape_;
  int64_t seq_length_;
};

}  // namespace sy
