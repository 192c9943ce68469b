#include "csrc/io/text_source.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "csrc/core/check.h"
#include "csrc/io/file.h"
#include "csrc/io/indexed_dataset.h"
#include "csrc/io/lines.h"
#include "csrc/io/tokenizer.h"

namespace sy {
namespace {

namespace fs = std::filesystem;

using DocumentCallback = std::function<void(std::string_view)>;
using BytesCallback = std::function<void(int64_t)>;

TextFormat resolve_format(const std::string& path, TextFormat format) {
  if (format != TextFormat::kAuto) return format;
  const std::string extension = fs::path(path).extension().string();
  if (extension == ".jsonl" || extension == ".ndjson") return TextFormat::kJsonl;
  if (extension == ".txt" || extension == ".text" || extension == ".md" || extension == ".rst")
    return TextFormat::kText;
  user_error("{}: the extension '{}' does not say whether this is text or JSONL: pass --format text or --format jsonl",
             path, extension);
}

int64_t file_bytes(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) user_error("input {} does not exist", path);
  if (!fs::is_regular_file(path, error)) user_error("input {} is not a file: name the files themselves", path);
  const auto bytes = fs::file_size(path, error);
  if (error) user_error("cannot read {}: {}", path, error.message());
  return static_cast<int64_t>(bytes);
}

void read_whole(const std::string& path, const DocumentCallback& on_document, const BytesCallback& on_bytes) {
  const std::string text = read_text_file(path);
  on_document(text);
  on_bytes(static_cast<int64_t>(text.size()));
}

void read_split(const std::string& path, const TokenizeOptions& options, const DocumentCallback& on_document,
                const BytesCallback& on_bytes) {
  const bool at_blank = options.split == DocumentSplit::kBlankLines;
  std::string document;
  bool has_lines = false;
  const auto close_document = [&] {
    // Between two blank lines there is no document; two separators do enclose an empty one.
    if (has_lines || !at_blank) on_document(document);
    document.clear();
    has_lines = false;
  };
  const auto on_line = [&](std::string_view line, int64_t) {
    const std::string_view visible = line.ends_with('\r') ? line.substr(0, line.size() - 1) : line;
    if (at_blank ? is_blank(line) : visible == options.document_separator) return close_document();
    if (has_lines) document.push_back('\n');
    document.append(line);
    has_lines = true;
  };
  read_lines(path, on_line, on_bytes);
  if (has_lines) close_document();
}

void read_jsonl(const std::string& path, const std::string& key, const DocumentCallback& on_document,
                const BytesCallback& on_bytes) {
  const auto on_record = [&](const nlohmann::json& record, int64_t number) {
    const auto value = record.find(key);
    if (value == record.end()) {
      std::string keys;
      for (const auto& item : record.items()) keys += (keys.empty() ? "" : ", ") + item.key();
      user_error("{}:{}: no key '{}' among [{}]: pass the right one with --json-key", path, number, key, keys);
    }
    if (!value->is_string()) {
      user_error("{}:{}: '{}' is a JSON {} where a string is wanted", path, number, key, value->type_name());
    }
    on_document(value->template get_ref<const std::string&>());
  };
  read_json_lines(path, on_record, on_bytes);
}

// Encodes documents in batches, each batch by all threads, and hands them on in order.
class ParallelEncoder {
 public:
  using Encode = std::function<void(std::string_view text, std::vector<int32_t>& ids)>;
  using Write = std::function<void(std::string_view text, const std::vector<int32_t>& ids)>;

  ParallelEncoder(Encode encode, Write write) : encode_(std::move(encode)), write_(std::move(write)) {}

  void add(std::string_view text) {
    if (count_ == texts_.size()) {
      texts_.emplace_back();
      ids_.emplace_back();
    }
    texts_[count_++] = text;
    batch_bytes_ += text.size();
    if (batch_bytes_ >= kBatchBytes || count_ >= kBatchDocuments) flush();
  }
  void flush() {
    std::exception_ptr error;
#pragma omp parallel for schedule(dynamic)
    for (std::size_t d = 0; d < count_; ++d) {
      try {
        encode_(texts_[d], ids_[d]);
      } catch (...) {  // may not leave the parallel region
#pragma omp critical(sy_encode_error)
        error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    for (std::size_t d = 0; d < count_; ++d) write_(texts_[d], ids_[d]);
    count_ = batch_bytes_ = 0;
  }

 private:
  // Long enough to occupy many threads, short beside any machine's memory.
  static constexpr std::size_t kBatchBytes = 16 << 20, kBatchDocuments = 1 << 16;
  Encode encode_;
  Write write_;
  std::vector<std::string> texts_;  // the first count_ are in use; the rest keep their memory
  std::vector<std::vector<int32_t>> ids_;
  std::size_t count_ = 0, batch_bytes_ = 0;
};

}  // namespace

void read_documents(const std::string& path, const TokenizeOptions& options, const DocumentCallback& on_document,
                    const BytesCallback& on_bytes) {
  if (resolve_format(path, options.format) == TextFormat::kJsonl) {
    read_jsonl(path, options.json_key, on_document, on_bytes);
  } else if (options.split == DocumentSplit::kNone) {
    read_whole(path, on_document, on_bytes);
  } else {
    read_split(path, options, on_document, on_bytes);
  }
}

TokenizeReport tokenize_files(const TokenizeOptions& options) {
  if (options.inputs.empty()) user_error("nothing to tokenize: give at least one input file");
  if (options.split == DocumentSplit::kSeparatorLine && options.document_separator.empty()) {
    user_error("the document separator is empty: split at blank lines instead");
  }
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.tokenizer);
  const TokenDtype dtype = token_dtype_for_vocab(tokenizer->vocab_size());
  int64_t total_bytes = 0;
  for (const std::string& path : options.inputs) {
    const bool is_jsonl = resolve_format(path, options.format) == TextFormat::kJsonl;
    if (is_jsonl && options.split != DocumentSplit::kNone) {
      user_error("{}: a JSONL line is a document already: splitting documents has no effect on it", path);
    }
    total_bytes += file_bytes(path);
  }

  IndexedDatasetBuilder builder(options.output_prefix, dtype, options.overwrite);
  TokenizeReport report;
  report.dtype = token_dtype_name(dtype);
  const SpecialIds special = options.add_special_ids ? tokenizer->special_ids() : SpecialIds{};
  ParallelEncoder encoder(
      [&](std::string_view text, std::vector<int32_t>& ids) {
        ids.assign(special.before.begin(), special.before.end());
        tokenizer->encode_append(text, ids);
        ids.insert(ids.end(), special.after.begin(), special.after.end());
        if (options.append_eod) ids.push_back(tokenizer->eod_id());
      },
      [&](std::string_view text, const std::vector<int32_t>& ids) {
        builder.add_tokens(ids);
        builder.end_sequence();
        builder.end_document();
        report.text_bytes += static_cast<int64_t>(text.size());
      });
  const auto on_document = [&](std::string_view text) {
    if (text.empty()) {
      ++report.num_empty_documents;
    } else {
      encoder.add(text);
    }
  };
  constexpr int64_t kReportEveryBytes = 1 << 20;
  int64_t done_bytes = 0, reported_bytes = 0;
  const auto on_bytes = [&](int64_t bytes) {
    done_bytes += bytes;
    if (!options.progress || done_bytes - reported_bytes < kReportEveryBytes) return;
    reported_bytes = done_bytes;
    options.progress(done_bytes, total_bytes);
  };
  for (const std::string& path : options.inputs) read_documents(path, options, on_document, on_bytes);
  encoder.flush();
  if (options.progress) options.progress(done_bytes, total_bytes);

  report.num_documents = builder.num_documents();
  report.num_tokens = builder.num_tokens();
  if (report.num_documents == 0) {
    user_error("the corpus is empty: {} input file(s), {} bytes, no document with text; nothing was written",
               options.inputs.size(), total_bytes);
  }
  builder.finish();
  return report;
}

}  // namespace sy
