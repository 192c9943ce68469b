// The training loop: data, steps, evaluation, checkpoints, reports. One optimizer step is told in train_step.cpp.
#include "trainer/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numbers>
#include <optional>

#include "csrc/io/tokenizer.h"
#include "trainer/checkpointing.h"
#include "trainer/config.h"
#include "trainer/dataset.h"
#include "trainer/dry_run.h"
#include "trainer/evaluate.h"
#include "trainer/expert_divergence.h"
#include "trainer/generate.h"
#include "trainer/layout.h"
#include "trainer/metrics.h"
#include "trainer/peak_flops.h"
#include "trainer/progress.h"
#include "trainer/run_folder.h"
#include "trainer/sampler.h"
#include "trainer/session.h"
#include "trainer/train_step.h"
#include "trainer/weights_checkpoint.h"

namespace sy {

namespace {

// Keys that may change between two starts of one run: they alter how long it runs, what it reports and which ranks
// share it, not the model's path.
const std::vector<std::string> kChangeable = {"train.train_iters",
                                              "train.eval_interval",
                                              "train.eval_iters",
                                              "parallel",
                                              "checkpoint",
                                              "logging",
                                              "device",
                                              "comm"};

bool is_inside(const std::string& path, const std::string& folder) {
  std::error_code ignored;
  const auto relative = std::filesystem::relative(path, folder, ignored);
  return !path.empty() && !relative.empty() && *relative.begin() != "..";
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Everything one run owns, built in the order in which mistakes should be found: data, model, run folder, checkpoint.
class Run {
 public:
  Run(Config config, Comm& comm, StopSignals& signals);
  ~Run() { signals_.set_last_words({}); }  // they speak of this object
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  int train();

 private:
  void resume();
  StepReport one_step(int64_t step);
  FillMicroBatch micro_batches_of(int64_t step);
  void log_step(int64_t step, const StepReport& report);
  void log_divergence(int64_t step);
  void evaluate_now(int64_t step);
  void save(int64_t step);
  int stop_not_finite(int64_t step, const StepReport& report);
  void finish(int64_t step, const std::string& reason);
  void show_sample();
  bool root() const { return comm_.rank() == 0; }

  Config config_;
  Comm& comm_;
  StopSignals& signals_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<BlendedDataset> data_;
  std::vector<std::unique_ptr<EvalDataset>> eval_sets_;
  std::unique_ptr<Mesh> mesh_;
  std::unique_ptr<Context> ctx_;
  Sampler sampler_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<TrainStep> step_;
  std::unique_ptr<RunFolder> folder_;       // rank 0
  std::unique_ptr<MetricsWriter> metrics_;  // rank 0
  std::unique_ptr<Progress> progress_;
  Schedule schedule_;
  std::string checkpoints_;
  int64_t first_step_ = 1, saved_step_ = -1;
  bool is_finished_ = false;  // all steps are done and reported: an earlier start has come to its end
  std::atomic<int64_t> current_step_{0}, complete_step_{-1};
  std::optional<EvalReport> last_eval_;
  double train_seconds_ = 0, logged_seconds_ = 0, peak_tflops_ = 0, flops_per_token_ = 0;
  int64_t logged_tokens_ = 0, trained_tokens_ = 0;
};

Run::Run(Config config, Comm& comm, StopSignals& signals)
    : config_(std::move(config)),
      comm_(comm),
      signals_(signals),
      mesh_(make_mesh(config_, comm)),
      sampler_(config_.train.micro_batch_size, config_.train.global_batch_size, mesh_->data().size(),
               mesh_->data_rank()) {
  const TrainConfig& t = config_.train;
  tokenizer_ = make_tokenizer(config_.data.tokenizer, config_.model.vocab_size);
  data_ = open_train_data(config_.data, t.seq_length, config_.model.vocab_size, t.seed);
  if (t.eval_iters > 0)
    eval_sets_ = open_eval_data(config_.data, Split::kValid, t.seq_length, config_.model.vocab_size);
  ctx_ = make_context(config_, *mesh_);
  decoder_ = std::make_unique<Decoder>(*ctx_, config_.model, config_.moe,
                                       DecoderOptions{.dtype = training_dtype(t.dtype),
                                                      .seed = static_cast<uint64_t>(t.seed),
                                                      .recompute = t.recompute == Recompute::kFull});
  decoder_->parameters().make_training_buffers(config_.parallel.ddp_bucket_size);
  decoder_->parameters().initialise(static_cast<uint64_t>(t.seed));
  optimizer_ = std::make_unique<Optimizer>(*ctx_, *decoder_, config_.optimizer);
  step_ = std::make_unique<TrainStep>(*ctx_, *decoder_, *optimizer_, t.seq_length);
  schedule_ = make_schedule(config_.optimizer, t);
  const ModelSize size = model_size(config_);
  flops_per_token_ = size.training_flops_per_token;

  const std::string text = print_config(config_);
  on_root(comm_, [&] { folder_ = std::make_unique<RunFolder>(config_.logging.run_dir, text, kChangeable); });
  checkpoints_ = config_.logging.run_dir + "/checkpoints";
  const auto prepare = [&] {
    for (const std::string& line : prepare_checkpoint_folder(checkpoints_)) fmt::print(stderr, "{}\n", line);
  };
  on_root(comm_, [&] {
    if (folder_->is_resuming()) prepare();
  });
  resume();
  on_root(comm_, [&] {
    folder_->store_config();
    prepare();
  });
  if (is_finished_) return;
  on_root(comm_, [&] {
    metrics_ = std::make_unique<MetricsWriter>(config_.logging.run_dir, first_step_ > 1 ? first_step_ - 1 : -1,
                                               config_.logging.tensorboard);
    if (first_step_ == 1) metrics_->log_text("config", text);
  });
  peak_tflops_ = config_.device.peak_tflops > 0 ? config_.device.peak_tflops
                                                : measured_peak_tflops(*ctx_, training_dtype(t.dtype));
  if (root())
    fmt::print(stderr, "{}: {:.2f} M parameters, {:.2f} M active per token; {} steps of {} tokens on {}\n",
               config_.logging.run_dir, static_cast<double>(size.total_parameters) * 1e-6,
               static_cast<double>(size.active_parameters) * 1e-6, t.train_iters, t.global_batch_size * t.seq_length,
               describe(mesh_->sizes()));
  progress_ = std::make_unique<Progress>(ProgressOptions{.label = "train",
                                                         .total = t.train_iters,
                                                         .style = default_progress_style(comm_.rank()),
                                                         .line_interval = config_.logging.log_interval,
                                                         .width = terminal_width()},
                                         first_step_ - 1);
  signals_.set_last_words([this]() -> std::string {
    char wait[256];
    const std::size_t length = comm_.describe_wait(wait);
    const std::string waiting = length == 0 ? "" : fmt::format("switchyard: {}", std::string_view(wait, length));
    if (!root()) return waiting;
    const int64_t complete = complete_step_;
    return fmt::format(
        "switchyard: stopped by a signal in step {}; {}{}{}", current_step_.load(),
        complete < 0 ? std::string("no checkpoint was written")
                     : fmt::format("last complete checkpoint: {}/{}", checkpoints_, step_directory_name(complete)),
        waiting.empty() ? "" : "\n", waiting);
  });
}

void Run::resume() {
  const std::string& load = config_.checkpoint.load;
  std::string directory;
  on_root(comm_, [&] {
    if (load != "none" && load != "auto") directory = resolve_checkpoint(load);
    const auto own = find_latest_checkpoint(checkpoints_);
    if (load == "auto" && own) {
      directory = own->directory;
      if (!own->note.empty()) fmt::print(stderr, "{}\n", own->note);
    }
    // Starting elsewhere would write over what this run has reached; going back within the run is explicit.
    if (load != "auto" && own && !is_inside(directory, checkpoints_))
      user_error(
          "'{}' already holds checkpoints of this run; set checkpoint.load: auto to continue it, or another "
          "logging.run_dir to start afresh",
          config_.logging.run_dir);
  });
  directory = comm_.broadcast_string(directory, 0);
  if (directory.empty()) {
    const std::string weights = start_from_pretrained(*ctx_, *decoder_, config_);
    if (root() && !weights.empty()) fmt::print(stderr, "starting from the weights of {}\n", weights);
    return;
  }
  const CheckpointReader reader(directory);
  load_checkpoint(*ctx_, *decoder_, optimizer_.get(), reader);
  first_step_ = reader.state().step + 1;
  saved_step_ = reader.state().step;
  complete_step_ = saved_step_;
  std::string finished;
  on_root(comm_, [&] {
    const std::string reason = summary_exit_reason(config_.logging.run_dir);
    if (saved_step_ >= config_.train.train_iters && reason == "done") finished = "yes";
  });
  is_finished_ = !comm_.broadcast_string(finished, 0).empty();
  if (!root() || is_finished_) return;
  fmt::print(stderr, "continuing from {} (step {})\n", directory, saved_step_);
  const std::string before = reader.state().mesh, now = describe(mesh_->sizes());
  if (before != now) fmt::print(stderr, "  it was written on {}; this start has {}\n", before, now);
}

FillMicroBatch Run::micro_batches_of(int64_t step) {
  return [this, consumed = (step - 1) * config_.train.global_batch_size](int64_t wave, BatchBuilder& builder) {
    const int64_t first = sampler_.first_sample(consumed, sampler_.micro_batch(wave));
    for (int64_t i = 0; i < sampler_.micro_batch_size(); ++i) builder.add_sample(*data_, first + i);
  };
}

StepReport Run::one_step(int64_t step) {
  return step_->run(step, learning_rate(schedule_, step - 1), (step - 1) * config_.train.global_batch_size,
                    sampler_.num_waves(), micro_batches_of(step), signals_.requested());
}

int Run::train() {
  const TrainConfig& t = config_.train;
  if (is_finished_) {
    if (root())
      fmt::print(stderr,
                 "this run has finished with step {}; raise train.train_iters to go on, results: {}/summary.json\n",
                 saved_step_, config_.logging.run_dir);
    return 0;
  }
  const int64_t divergence_interval = config_.logging.expert_divergence_interval;
  if (first_step_ == 1 && divergence_interval > 0) log_divergence(0);
  if (first_step_ == 1 && t.eval_interval > 0 && !config_.checkpoint.pretrained_checkpoint.empty()) evaluate_now(0);
  int64_t step = first_step_;
  for (; step <= t.train_iters; ++step) {
    current_step_ = step;
    const double begin = seconds_now();
    const StepReport report = one_step(step);
    const double seconds = seconds_now() - begin;
    if (report.skipped) return stop_not_finite(step, report);
    train_seconds_ += seconds;
    logged_seconds_ += seconds;
    logged_tokens_ += report.batch_tokens;
    trained_tokens_ += report.batch_tokens;
    progress_->update(step, fmt::format("loss {:.4f}", report.lm_loss));
    if (step % config_.logging.log_interval == 0 || step == t.train_iters) log_step(step, report);
    if (divergence_interval > 0 && (step % divergence_interval == 0 || step == t.train_iters)) log_divergence(step);
    if (t.eval_interval > 0 && step % t.eval_interval == 0 && step != t.train_iters) evaluate_now(step);
    const bool stop = report.stop_requests > 0;
    if (stop || (config_.checkpoint.save_interval > 0 && step % config_.checkpoint.save_interval == 0)) save(step);
    if (stop) {
      progress_->message(fmt::format("stopped on request after step {}; start again to continue", step));
      finish(step, "stopped");
      return 75;
    }
  }
  evaluate_now(t.train_iters);
  if (saved_step_ != t.train_iters) save(t.train_iters);
  progress_->finish();
  finish(t.train_iters, "done");
  show_sample();
  return 0;
}

void Run::log_step(int64_t step, const StepReport& report) {
  const MemoryUse memory = ctx_->allocator().use();
  const double tokens_per_second = static_cast<double>(logged_tokens_) / logged_seconds_;
  const double tflops = tokens_per_second * flops_per_token_ * 1e-12;
  Metrics m = {{"consumed_samples", step * config_.train.global_batch_size},
               {"lm_loss", report.lm_loss},
               {"perplexity", std::exp(report.lm_loss)},
               {"learning_rate", learning_rate(schedule_, step - 1)},
               {"grad_norm", report.grad_norm},
               {"tokens_per_second", tokens_per_second},
               {"tflops", tflops},
               {"peak_fraction", tflops / (peak_tflops_ * comm_.size())}};
  if (config_.data.tokenizer == "bytes") m.emplace_back("bits_per_byte", report.lm_loss / std::numbers::ln2);
  for (const auto& [name, value] : report.extra_losses) m.emplace_back(name, value);
  if (mesh_->expert().size() > 1) {
    m.emplace_back("dispatch_bytes", report.dispatch_bytes);
    // Tensor-parallel ranks that all hold a micro-batch's tokens divide them first: otherwise each would send them all.
    const int64_t duplicates = mesh_->sizes().sequence_parallel ? 0 : mesh_->tensor().size() - 1;
    if (duplicates > 0) m.emplace_back("dispatch_bytes_saved", report.dispatch_bytes * duplicates);
  }
  m.emplace_back("memory/peak_bytes", memory.total_peak_bytes);
  for (int k = 0; k < kNumMemoryKinds; ++k)
    m.emplace_back(fmt::format("memory/peak_{}", memory_kind_name(static_cast<MemoryKind>(k))),
                   memory.peak_bytes[static_cast<std::size_t>(k)]);
  for (const auto& moe : report.moe) {
    const std::string prefix = fmt::format("moe/layer_{}/", moe.layer);
    m.emplace_back(prefix + "max_vio", moe.max_vio);
    m.emplace_back(prefix + "entropy", moe.entropy);
    m.emplace_back(prefix + "dropped_fraction", moe.dropped_fraction);
    m.emplace_back(prefix + "dead_experts", moe.dead_experts);
  }
  if (root()) metrics_->log(step, m);
  logged_seconds_ = 0;
  logged_tokens_ = 0;
}

void Run::log_divergence(int64_t step) {
  Metrics m;
  for (const LayerDivergence& d : expert_divergence(*ctx_, *decoder_))
    m.emplace_back(fmt::format("moe/layer_{}/expert_divergence", d.layer), d.mean_cosine_distance);
  if (root()) metrics_->log(step, m);
}

void Run::evaluate_now(int64_t step) {
  if (eval_sets_.empty()) return;
  const int64_t windows = config_.train.eval_iters * config_.train.global_batch_size;
  last_eval_ = evaluate(*ctx_, *decoder_, eval_sets_, *tokenizer_, config_.train.seq_length,
                        config_.train.micro_batch_size, windows);
  progress_->message(fmt::format("step {}: held-out loss {:.4f} nats per token, {:.4f} bits per byte, {} tokens", step,
                                 last_eval_->loss, last_eval_->bits_per_byte, last_eval_->tokens));
  if (root())
    metrics_->log(step, {{"eval_loss", last_eval_->loss},
                         {"eval_perplexity", std::exp(last_eval_->loss)},
                         {"eval_bits_per_byte", last_eval_->bits_per_byte}});
}

void Run::save(int64_t step) {
  CheckpointState state;
  state.step = step;
  state.consumed_samples = step * config_.train.global_batch_size;
  state.config_text = print_config(config_);
  state.mesh = describe(mesh_->sizes());
  state.version = SY_COMMIT;
  save_checkpoint(*ctx_, *decoder_, *optimizer_, checkpoints_, state, config_.checkpoint.keep_last_n);
  saved_step_ = step;
  complete_step_ = step;
}

int Run::stop_not_finite(int64_t step, const StepReport& report) {
  std::string what;
  if (std::isfinite(report.lm_loss)) {  // equal on all ranks, which therefore take the same branch
    const std::string parameter = optimizer_->first_bad_gradient();
    what = parameter.empty() ? std::string("the norm of the gradient overflows")
                             : fmt::format("the gradient is not finite, first in '{}'", parameter);
  } else {
    const std::string part = step_->first_not_finite(sampler_.num_waves(), micro_batches_of(step));
    what = fmt::format("the loss is {}, and the first output that is not finite is that of '{}'", report.lm_loss,
                       part.empty() ? "lm_head" : part);
  }
  progress_->message(fmt::format(
      "switchyard: step {}: {}; nothing was updated; last good checkpoint: {}; lower optimizer.lr or check the data",
      step, what, saved_step_ < 0 ? std::string("none") : checkpoints_ + "/" + step_directory_name(saved_step_)));
  finish(step - 1, "not_finite");
  return 1;
}

void Run::finish(int64_t step, const std::string& reason) {
  if (!root()) return;
  const double rate = train_seconds_ > 0 ? static_cast<double>(trained_tokens_) / train_seconds_ : 0.0;
  Metrics summary;
  if (last_eval_) {
    summary.emplace_back("eval_loss", last_eval_->loss);
    summary.emplace_back("eval_bits_per_byte", last_eval_->bits_per_byte);
  }
  summary.emplace_back("train_seconds", train_seconds_);
  summary.emplace_back("tokens_per_second", rate);
  summary.emplace_back("tflops", rate * flops_per_token_ * 1e-12);
  summary.emplace_back("peak_bytes", ctx_->allocator().use().total_peak_bytes);
  summary.emplace_back("steps", step);
  summary.emplace_back("exit_reason", reason);
  summary.emplace_back("commit", std::string(SY_COMMIT));
  metrics_->write_summary(summary);
}

void Run::show_sample() {
  if (!root()) return;
  fmt::print(stderr, "\nfiles: {0}/ (config.yaml, metrics.jsonl, summary.json, {1}checkpoints/)\n",
             config_.logging.run_dir, config_.logging.tensorboard ? "tensorboard/, " : "");
  // A model that several ranks share generates after it was loaded by one.
  const bool is_whole = mesh_->tensor().size() == 1 && mesh_->expert().size() == 1;
  if (!is_whole || !can_generate(*decoder_)) return;
  const std::string prompt = "And the LORD said";
  SampleOptions options;
  options.max_new_tokens = std::min<int64_t>(
      200, config_.model.max_position_embeddings - static_cast<int64_t>(tokenizer_->encode(prompt).size()));
  if (options.max_new_tokens <= 0) return;  // a context too short to show anything
  options.temperature = 0.7;
  options.seed = static_cast<uint64_t>(config_.train.seed);
  const std::string text = generate_texts(*ctx_, *decoder_, *tokenizer_, {prompt}, options).front();
  fmt::print(stderr, "sample (switchyard generate {} --prompt \"{}\"):\n{}{}\n", config_.logging.run_dir, prompt,
             prompt, text);
}

}  // namespace

int run_train(const std::string& config_path, const std::vector<std::string>& overrides, Comm& comm,
              StopSignals& signals) {
  signals.accept_requests();
  const Config config = load_config(config_path, overrides, comm.size());
  comm.configure({.debug = config.comm.debug,
                  .report_after_s = static_cast<double>(config.comm.report_after_s),
                  .abort_after_s = static_cast<double>(config.comm.abort_after_s)});
  Run run(config, comm, signals);
  return run.train();
}

}  // namespace sy
