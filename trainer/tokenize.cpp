#include "trainer/tokenize.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <optional>

#include "csrc/io/text_source.h"
#include "trainer/progress.h"

namespace sy {
int run_tokenize(int argc, char** argv) {
  TokenizeOptions options;
  CLI::App app("Turns text (*.txt) and JSON lines (*.jsonl) into a token corpus <prefix>.bin/.idx",
               "switchyard tokenize");
  app.add_option("--input", options.inputs, "input files")->required()->expected(1, -1);
  app.add_option("--output-prefix", options.output_prefix, "writes <prefix>.bin and <prefix>.idx")->required();
  app.add_option("--tokenizer", options.tokenizer, "bytes, or the path of a Hugging Face tokenizer.json")
      ->capture_default_str();
  std::string format = "auto", split_at = "none";
  app.add_option("--format", format, "what the inputs are; auto goes by the extension")
      ->check(CLI::IsMember({"auto", "text", "jsonl"}))
      ->capture_default_str();
  app.add_option("--json-key", options.json_key, "key of the text in a JSON line")->capture_default_str();
  app.add_flag("--append-eod,!--no-append-eod", options.append_eod,
               "end every document with the end-of-document id (default)");
  auto* split =
      app.add_option("--split-documents", split_at, "what separates documents in a text file: nothing or blank lines")
          ->check(CLI::IsMember({"none", "blank"}))
          ->capture_default_str();
  auto* separator = app.add_option("--document-separator", options.document_separator,
                                   "documents are separated by lines equal to this")
                        ->excludes(split);
  app.add_flag("--add-special-tokens", options.add_special_ids,
               "put the tokenizer's own special tokens, such as <s>, around every document");
  app.add_flag("--overwrite", options.overwrite, "replace an existing corpus");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (format != "auto") options.format = format == "text" ? TextFormat::kText : TextFormat::kJsonl;
  if (split_at == "blank") options.split = DocumentSplit::kBlankLines;
  if (separator->count() > 0) options.split = DocumentSplit::kSeparatorLine;

  const auto start = std::chrono::steady_clock::now();
  std::optional<Progress> progress;  // made when the inputs are known to be readable
  options.progress = [&](int64_t done, int64_t total) {
    if (!progress) {
      progress.emplace(ProgressOptions{.label = "tokenize",
                                       .total = total,
                                       .unit = ProgressOptions::Unit::kBytes,
                                       .style = default_progress_style(/*rank=*/0),
                                       .width = terminal_width()});
    }
    progress->update(done);
  };
  const TokenizeReport report = tokenize_files(options);
  progress->finish();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}.bin/.idx: {} documents, {} tokens ({}), {} bytes of text, {:.1f} s\n", options.output_prefix,
             report.num_documents, report.num_tokens, report.dtype, report.text_bytes, seconds);
  if (report.num_empty_documents > 0)
    fmt::print("{} documents without text were skipped\n", report.num_empty_documents);
  return 0;
}

}  // namespace sy
