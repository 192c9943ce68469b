// Perplexity and bits per byte of a text: its documents one after the other, each with the end-of-document token behind
// it and the first with one before it, as training sees them; every token but that first one is scored once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/io/text_source.h"
#include "csrc/io/tokenizer.h"
#include "csrc/models/decoder.h"

namespace sy {

struct TokenStream {
  std::vector<int32_t> tokens;
  std::vector<int64_t> document_begin;  // ascending, the first 0
  int64_t num_documents = 0;            // with text
  int64_t text_bytes = 0;               // theirs
};

// Reads one file by the options' format, split and json_key. UserError if there is no text in it.
TokenStream read_stream(const std::string& path, const TokenizeOptions& options, const Tokenizer& tokenizer);

struct PerplexityOptions {
  int64_t seq_length = 0, stride = 0, batch_size = 1;
  bool reset_attention_mask = false;  // tokens see their own document only
  std::function<void(int64_t done, int64_t total)> progress = [](int64_t, int64_t) {};  // in tokens
};

struct PerplexityReport {
  int64_t num_tokens = 0;  // scored, end-of-document tokens included
  double loss = 0;         // nats per token
  double perplexity = 0;
  double bits_per_byte = 0;  // of the text as it stands in the file
};

PerplexityReport perplexity(Context& ctx, Decoder& decoder, const TokenStream& stream,
                            const PerplexityOptions& options);

}  // namespace sy
