#include "trainer/eval_command.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "csrc/io/file.h"
#include "trainer/choices.h"
#include "trainer/perplexity.h"
#include "trainer/progress.h"
#include "trainer/trained_model.h"

namespace sy {

namespace {

using Json = nlohmann::ordered_json;

struct EvalArguments {
  std::string checkpoint, text, choices, json;
  int64_t seq_length = 0, stride = 0, batch_size = 0;  // 0: of the training, or as the help says
  TokenizeOptions reading;
};

// A progress line that begins with the first report.
class EvalProgress {
 public:
  explicit EvalProgress(std::string label) : label_(std::move(label)) {}
  void update(int64_t done, int64_t total) {
    if (!progress_)
      progress_.emplace(ProgressOptions{
          .label = label_, .total = total, .style = default_progress_style(/*rank=*/0), .width = terminal_width()});
    progress_->update(done);
    if (done == total) progress_->finish();
  }

 private:
  std::string label_;
  std::optional<Progress> progress_;
};

Json eval_text(const TrainedModel& model, const EvalArguments& args, int64_t batch_size) {
  PerplexityOptions options{.seq_length = args.seq_length != 0 ? args.seq_length : model.config.train.seq_length,
                            .batch_size = batch_size,
                            .reset_attention_mask = model.config.data.reset_attention_mask};
  options.stride = args.stride != 0 ? args.stride : options.seq_length;
  if (options.seq_length > model.config.model.max_position_embeddings)
    user_error("--seq-length {} is longer than model.max_position_embeddings: {}", options.seq_length,
               model.config.model.max_position_embeddings);
  if (options.stride > options.seq_length)
    user_error("--stride {} is longer than --seq-length {}: tokens between the windows would not be scored",
               options.stride, options.seq_length);
  const TokenStream stream = read_stream(args.text, args.reading, *model.tokenizer);
  EvalProgress progress("tokens");
  options.progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  const PerplexityReport report = perplexity(*model.ctx, *model.decoder, stream, options);
  fmt::print("{}: {} tokens, {} bytes in {} documents; windows of {} tokens, stride {}\n", args.text, report.num_tokens,
             stream.text_bytes, stream.num_documents, options.seq_length, options.stride);
  fmt::print("  loss {:.6f} nats per token, perplexity {:.4f}, {:.6f} bits per byte\n", report.loss, report.perplexity,
             report.bits_per_byte);
  return {{"file", args.text},           {"documents", stream.num_documents}, {"text_bytes", stream.text_bytes},
          {"tokens", report.num_tokens}, {"seq_length", options.seq_length},  {"stride", options.stride},
          {"loss", report.loss},         {"perplexity", report.perplexity},   {"bits_per_byte", report.bits_per_byte}};
}

Json eval_choices(const TrainedModel& model, const EvalArguments& args, int64_t batch_size) {
  const std::vector<ChoiceItem> items =
      read_choices(args.choices, *model.tokenizer, model.config.model.max_position_embeddings);
  EvalProgress progress("choices");
  const ChoiceReport report = score_choices(*model.ctx, *model.decoder, items, batch_size,
                                            [&](int64_t done, int64_t total) { progress.update(done, total); });
  fmt::print("{}: {} items; accuracy {:.4f}, by log-probability per byte {:.4f}, per token {:.4f}\n", args.choices,
             report.num_items, report.accuracy, report.accuracy_per_byte, report.accuracy_per_token);
  return {{"file", args.choices},
          {"items", report.num_items},
          {"accuracy", report.accuracy},
          {"accuracy_per_byte", report.accuracy_per_byte},
          {"accuracy_per_token", report.accuracy_per_token}};
}

}  // namespace

int run_eval(int argc, char** argv, Comm& comm) {
  EvalArguments args;
  CLI::App app("Score a text or multiple-choice items with a trained checkpoint", "switchyard eval");
  app.add_option("checkpoint", args.checkpoint, "a run folder, its checkpoints folder or one step directory")
      ->required();
  auto* text = app.add_option("--text", args.text,
                              "file whose perplexity is wanted: text, or JSON lines (.jsonl) with a document each");
  auto* choices = app.add_option("--choices", args.choices,
                                 "JSON lines {\"context\": text, \"choices\": [text, ...], \"answer\": index from 0}");
  app.add_option("--seq-length", args.seq_length, "tokens of a window; default: the training's")
      ->check(CLI::PositiveNumber)
      ->needs(text);
  app.add_option("--stride", args.stride,
                 "tokens that a window scores; the smaller, the more context each has, and the slower; default: the "
                 "whole window")
      ->check(CLI::PositiveNumber)
      ->needs(text);
  app.add_option("--json-key", args.reading.json_key, "key of the text in a JSON line of --text")
      ->needs(text)
      ->capture_default_str();
  app.add_option("--document-separator", args.reading.document_separator,
                 "documents of --text are separated by lines equal to this; default: a text file is one document")
      ->needs(text);
  app.add_option("--batch-size", args.batch_size, "windows or choices at a time; default: train.micro_batch_size")
      ->check(CLI::PositiveNumber);
  app.add_option("--json", args.json, "also write the results to this file");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (comm.size() > 1) user_error("`switchyard eval` runs on one process, not on {}", comm.size());
  if (text->count() + choices->count() == 0) user_error("nothing to score: give --text FILE, --choices FILE or both");
  if (app.count("--document-separator") > 0) args.reading.split = DocumentSplit::kSeparatorLine;
  if (!args.json.empty()) {
    const auto parent = std::filesystem::absolute(args.json).parent_path();
    if (!std::filesystem::is_directory(parent))
      user_error("--json {}: there is no folder {}", args.json, parent.string());
  }
  const TrainedModel model = load_trained_model(args.checkpoint);
  const int64_t batch_size = args.batch_size != 0 ? args.batch_size : model.config.train.micro_batch_size;
  Json out = {{"checkpoint", model.directory}};
  if (!args.text.empty()) out["text"] = eval_text(model, args, batch_size);
  if (!args.choices.empty()) out["choices"] = eval_choices(model, args, batch_size);
  if (!args.json.empty())
    write_file_atomically(args.json, out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  return 0;
}

}  // namespace sy
