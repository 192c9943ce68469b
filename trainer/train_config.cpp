#include "trainer/train_config.h"

namespace sy {

namespace {

// Bounds far above any run, so that sums and products of two stay below 2^63.
constexpr double kMaxIters = 1e12;
constexpr double kMaxBatch = 1 << 30;
constexpr double kMaxRanks = 1 << 20;
constexpr double kMaxSeconds = 1e9;

}  // namespace

void describe(TrainConfig& c, Fields& f) {
  f.field("train_iters", c.train_iters, "optimizer steps of the run", {.min = 1, .max = kMaxIters, .required = true});
  f.field(
      "micro_batch_size", c.micro_batch_size,
      "sequences in one forward and backward pass; also the routing group, on which capacity and balance are defined",
      {.min = 1, .max = kMaxBatch});
  f.field("global_batch_size", c.global_batch_size, "sequences per optimizer step, over all ranks",
          {.min = 1, .max = kMaxBatch, .required = true});
  f.field("seq_length", c.seq_length, "tokens per sequence", {.min = 1, .max = kMaxBatch, .required = true});
  f.field("eval_iters", c.eval_iters, "global batches of the validation set per evaluation; 0: no evaluation",
          {.min = 0, .max = kMaxIters});
  f.field(
      "eval_interval", c.eval_interval,
      "steps between evaluations, counted from before the first step in a run from given weights; 0: only after the "
      "last step",
      {.min = 0, .max = kMaxIters, .active = c.eval_iters > 0, .active_when = "eval_iters is not 0"});
  f.field("seed", c.seed, "of the initial weights, the order of the data and random routing", {.min = 0});
  f.field("dtype", c.dtype, {{"f32", ComputeType::kF32}, {"bf16", ComputeType::kBf16}, {"f64", ComputeType::kF64}},
          "element type of activations; bf16 keeps f32 master weights and sums, f64 is the reference on the CPU");
  f.field(
      "recompute", c.recompute, {{"none", Recompute::kNone}, {"full", Recompute::kFull}},
      "full: keep only the input of each block and recompute the rest in the backward pass, with the saved routing");
  f.require(c.micro_batch_size > 0 && c.global_batch_size % c.micro_batch_size == 0, "global_batch_size",
            fmt::format("{} is not a multiple of micro_batch_size {}", c.global_batch_size, c.micro_batch_size));
}

void describe(OptimizerConfig& c, Fields& f) {
  f.field("lr", c.lr, "highest learning rate", {.min = 0, .above_min = true, .required = true});
  f.field("lr_decay_style", c.lr_decay_style,
          {{"constant", LrDecayStyle::kConstant},
           {"linear", LrDecayStyle::kLinear},
           {"cosine", LrDecayStyle::kCosine},
           {"WSD", LrDecayStyle::kWsd}},
          "how the rate falls from lr to min_lr after the warmup; WSD: stays at lr, then falls at the end");
  const bool decays = c.lr_decay_style != LrDecayStyle::kConstant;
  const bool is_wsd = c.lr_decay_style == LrDecayStyle::kWsd;
  f.field("min_lr", c.min_lr, "learning rate at the end of the decay",
          {.min = 0, .active = decays, .active_when = "lr_decay_style is not constant"});
  f.field("lr_warmup_iters", c.lr_warmup_iters, "steps in which the rate rises from 0 to lr in a straight line",
          {.min = 0, .max = kMaxIters});
  f.field("lr_decay_iters", c.lr_decay_iters, "step at which min_lr is reached, warmup included; 0: train.train_iters",
          {.min = 0, .max = kMaxIters, .active = decays, .active_when = "lr_decay_style is not constant"});
  f.field("lr_wsd_decay_iters", c.lr_wsd_decay_iters, "steps of the final decay of WSD",
          {.min = 1, .max = kMaxIters, .required = true, .active = is_wsd, .active_when = "lr_decay_style is WSD"});
  f.field("lr_wsd_decay_style", c.lr_wsd_decay_style,
          {{"linear", WsdDecayStyle::kLinear},
           {"cosine", WsdDecayStyle::kCosine},
           {"exponential", WsdDecayStyle::kExponential},
           {"minus_sqrt", WsdDecayStyle::kMinusSqrt}},
          "shape of the final decay of WSD", {.active = is_wsd, .active_when = "lr_decay_style is WSD"});
  f.field("weight_decay", c.weight_decay, "decoupled (AdamW): each step takes lr * weight_decay of the weight away",
          {.min = 0});
  f.field("weight_decay_on", c.weight_decay_on,
          {{"matrices", DecayGroups::kMatrices},
           {"matrices_and_embeddings", DecayGroups::kMatricesAndEmbeddings},
           {"all", DecayGroups::kAll}},
          "what decays: matrices without the embedding, with it, or everything including norm weights",
          {.active = c.weight_decay > 0, .active_when = "weight_decay is not 0"});
  f.field("adam_beta1", c.adam_beta1, "decay of the mean of the gradients", {.min = 0, .max = 0.999999});
  f.field("adam_beta2", c.adam_beta2, "decay of the mean of their squares", {.min = 0, .max = 0.999999});
  f.field("adam_eps", c.adam_eps, "added to the root of the mean square", {.min = 0, .above_min = true});
  f.field("clip_grad", c.clip_grad, "largest norm of the whole gradient, scaled down beyond; 0: no clipping",
          {.min = 0});
  f.require(!decays || c.min_lr <= c.lr, "min_lr", fmt::format("{} is above lr {}", c.min_lr, c.lr));
}

void describe(ParallelConfig& c, Fields& f) {
  const auto axis = [&](const char* key, int64_t& ranks, const char* doc, bool is_supported = true) {
    f.field(key, ranks, doc, {.min = 1, .max = kMaxRanks});
    f.require(is_supported || ranks == 1, key, fmt::format("{} is not supported by this version, only 1", ranks));
  };
  axis("tensor_model_parallel_size", c.tensor_model_parallel_size,
       "ranks that share each attention and dense matrix and each micro-batch");
  axis("pipeline_model_parallel_size", c.pipeline_model_parallel_size, "ranks that share the layers", false);
  axis("context_parallel_size", c.context_parallel_size, "ranks that share each sequence", false);
  axis("expert_model_parallel_size", c.expert_model_parallel_size,
       "ranks that share the experts of a layer; they may span tensor- and data-parallel ranks");
  axis("expert_tensor_parallel_size", c.expert_tensor_parallel_size,
       "ranks that share each expert's matrices; need not equal tensor_model_parallel_size");
  f.field("sequence_parallel", c.sequence_parallel,
          "between the tensor-parallel parts each rank holds its share of a micro-batch's tokens; false: all of them",
          {.active = c.tensor_model_parallel_size > 1, .active_when = "tensor_model_parallel_size is not 1"});
  f.field("dispatch_chunks", c.dispatch_chunks,
          "parts into which a rank cuts its tokens, so that experts compute on one while the others travel; more parts "
          "mean smaller products",
          {.min = 1,
           .max = 64,
           .active = c.expert_model_parallel_size * c.expert_tensor_parallel_size > 1,
           .active_when = "experts are shared by ranks"});
  f.field("ddp_bucket_size", c.ddp_bucket_size,
          "elements of gradients that are reduced in one piece, as soon as the last of them is complete", {.min = 1});
}

void describe(CommConfig& c, Fields& f) {
  f.field(
      "backend", c.backend, {{"auto", CommBackend::kAuto}, {"mpi", CommBackend::kMpi}, {"nccl", CommBackend::kNccl}},
      "what carries GPU memory between ranks; mpi: staged through the host; auto: nccl where every rank has a GPU of "
      "its own and the build has NCCL, mpi otherwise. The CPU's ranks always use MPI");
  f.field("debug", c.debug,
          "ranks compare every collective before they begin it, and stop with the first difference instead of a hang");
  f.field("report_after_s", c.report_after_s,
          "seconds in one collective after which the ranks that have not arrived are named on stderr",
          {.min = 1, .max = kMaxSeconds});
  f.field("abort_after_s", c.abort_after_s, "seconds in one collective after which the job is ended",
          {.min = 1, .max = kMaxSeconds});
  f.require(c.report_after_s < c.abort_after_s, "abort_after_s",
            fmt::format("{} is not after report_after_s {}", c.abort_after_s, c.report_after_s));
}

void describe(CheckpointConfig& c, Fields& f) {
  f.field("save_interval", c.save_interval, "steps between checkpoints; 0: only at the end and when asked to stop",
          {.min = 0, .max = kMaxIters});
  f.field("keep_last_n", c.keep_last_n, "complete checkpoints kept, older ones are deleted; 0: all", {.min = 0});
  f.field(
      "load", c.load,
      "auto: continue from the newest complete checkpoint of the run folder, if any; none: start afresh, which a run "
      "folder with checkpoints refuses; else the folder of a checkpoint");
  f.require(!c.load.empty(), "load", "is empty; write auto, none or the folder of a checkpoint");
  f.field("pretrained_checkpoint", c.pretrained_checkpoint,
          "weights that a new run starts from, at step 0 with a fresh optimizer: a run or checkpoint folder, or what "
          "`switchyard convert` made; model and moe must be its; empty: random weights",
          {.active = c.load == "auto" || c.load == "none", .active_when = "load is auto or none"});
}

void describe(LoggingConfig& c, Fields& f) {
  f.field("run_dir", c.run_dir, "folder for everything that the run writes; empty: runs/<name of the YAML file>");
  f.field("log_interval", c.log_interval, "steps between lines of metrics", {.min = 1, .max = kMaxIters});
  f.field("expert_divergence_interval", c.expert_divergence_interval,
          "steps between measurements of how far the experts of each layer have moved apart (moe/layer_i/"
          "expert_divergence: the mean over pairs of experts of 1 - cosine of their weights), from before the first "
          "step to after the last; 0: none",
          {.min = 0, .max = kMaxIters});
  f.field("tensorboard", c.tensorboard, "also write TensorBoard event files");
}

void describe(DeviceConfig& c, Fields& f) {
  f.field("type", c.type, {{"cpu", DeviceType::cpu}, {"cuda", DeviceType::cuda}}, "where tensors live");
  f.field("threads", c.threads, "CPU threads per rank; 0: the cores this rank may use", {.min = 0, .max = 4096});
  f.field("peak_tflops", c.peak_tflops,
          "peak of one device in the run's dtype, for the % of peak; 0: known or measured", {.min = 0});
}

Schedule make_schedule(const OptimizerConfig& optimizer, const TrainConfig& train) {
  return {.lr = optimizer.lr,
          .min_lr = optimizer.min_lr,
          .style = optimizer.lr_decay_style,
          .warmup_iters = optimizer.lr_warmup_iters,
          .decay_iters = optimizer.lr_decay_iters != 0 ? optimizer.lr_decay_iters : train.train_iters,
          .wsd_decay_iters = optimizer.lr_wsd_decay_iters,
          .wsd_style = optimizer.lr_wsd_decay_style};
}

}  // namespace sy
