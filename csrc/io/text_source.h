// Text and JSONL files -> documents -> a Megatron .bin/.idx corpus: the core of `switchyard tokenize`.
//
// Text files are raw bytes of any encoding, one document per file unless split at blank or separator lines. JSONL files
// hold one document per line, the string under `json_key`. Documents without text are skipped and counted. Documents
// are encoded by all OpenMP threads and written in their order: the corpus does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sy {

enum class TextFormat {
  kAuto,  // by extension: .jsonl and .ndjson, or .txt, .text, .md and .rst; another extension is an error
  kText,
  kJsonl,
};

enum class DocumentSplit {
  kNone,           // a text file is one document, kept byte for byte
  kBlankLines,     // runs of lines without visible characters separate documents
  kSeparatorLine,  // lines equal to `document_separator` separate documents
};

struct TokenizeOptions {
  std::vector<std::string> inputs;
  std::string output_prefix;
  std::string tokenizer = "bytes";
  TextFormat format = TextFormat::kAuto;
  DocumentSplit split = DocumentSplit::kNone;
  std::string document_separator;  // only for kSeparatorLine
  std::string json_key = "text";
  bool append_eod = true;
  bool add_special_ids = false;  // the tokenizer's own around every document, inside the end-of-document id
  bool overwrite = false;
  // Called now and then, and once at the end, with input bytes done and in all.
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress;
};

struct TokenizeReport {
  int64_t num_documents = 0;
  int64_t num_empty_documents = 0;  // skipped
  int64_t num_tokens = 0;           // end-of-document tokens included
  int64_t text_bytes = 0;           // of the documents written
  std::string dtype;
};

// Calls `on_document` for every document of one file, in order, the empty ones too (the view ends with the call), and
// `on_bytes` with the number of input bytes newly consumed. UserError names the file and, for JSONL, the line.
void read_documents(const std::string& path, const TokenizeOptions& options,
                    const std::function<void(std::string_view)>& on_document,
                    const std::function<void(int64_t)>& on_bytes);

// Writes <output_prefix>.bin/.idx atomically. UserError for a missing input, bad JSON, an existing output without
// `overwrite`, or a corpus without any text; in every case nothing is written.
TokenizeReport tokenize_files(const TokenizeOptions& options);

}  // namespace sy
