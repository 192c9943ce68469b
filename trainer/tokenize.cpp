#include "trainer/tokenize.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "csrc/core/check.h"
#include "csrc/io/text_source.h"

namespace sy {
namespace {

// One line on stderr: redrawn on a terminal, otherwise a new line every ten seconds.
class TokenizeProgress {
 public:
  void operator()(int64_t done_bytes, int64_t total_bytes) {
    const double now = std::chrono::duration<double>(Clock::now() - start_).count();
    if (now < next_) return;
    next_ = now + (terminal_ ? 0.2 : 10.0);
    const double rate = static_cast<double>(done_bytes) / now;
    const double left = static_cast<double>(total_bytes - done_bytes) / rate;
    fmt::print(stderr, "{}tokenize {:3.0f}%  {:.1f} MB/s  {:.0f} s left{}", terminal_ ? "\r" : "",
               100.0 * static_cast<double>(done_bytes) / static_cast<double>(total_bytes), rate / 1e6, left,
               terminal_ ? "   " : "\n");
    std::fflush(stderr);
    shown_ = true;
  }
  double finish() {
    if (shown_ && terminal_) fmt::print(stderr, "\n");
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  double next_ = terminal_ ? 0.2 : 10.0;
  bool shown_ = false;
};

}  // namespace

int run_tokenize(int argc, char** argv) {
  TokenizeOptions options;
  CLI::App app("Turns text (*.txt) and JSON lines (*.jsonl) into a token corpus <prefix>.bin/.idx",
               "switchyard tokenize");
  app.add_option("--input", options.inputs, "input files")->required()->expected(1, -1);
  app.add_option("--output-prefix", options.output_prefix, "writes <prefix>.bin and <prefix>.idx")->required();
  app.add_option("--tokenizer", options.tokenizer, "tokenizer: bytes")->capture_default_str();
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
  app.add_flag("--overwrite", options.overwrite, "replace an existing corpus");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (format != "auto") options.format = format == "text" ? TextFormat::kText : TextFormat::kJsonl;
  if (split_at == "blank") options.split = DocumentSplit::kBlankLines;
  if (separator->count() > 0) options.split = DocumentSplit::kSeparatorLine;

  TokenizeProgress progress;
  options.progress = [&](int64_t done, int64_t total) { progress(done, total); };
  const TokenizeReport report = tokenize_files(options);
  const double seconds = progress.finish();
  fmt::print("{}.bin/.idx: {} documents, {} tokens ({}), {} bytes of text, {:.1f} s\n", options.output_prefix,
             report.num_documents, report.num_tokens, report.dtype, report.text_bytes, seconds);
  if (report.num_empty_documents > 0)
    fmt::print("{} documents without text were skipped\n", report.num_empty_documents);
  return 0;
}

}  // namespace sy
