// A small corpus for methods that look at data.
#pragma once

#include <string>
#include <vector>

#include "csrc/io/indexed_dataset.h"

namespace sy::testing {

// One document of byte tokens, a function of `kind`; returns them.
inline std::vector<int32_t> write_sample_corpus(const std::string& prefix, int64_t length, int64_t kind) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>((kind * 17 + i * i * 5 + i) % 251));
  IndexedDatasetBuilder builder(prefix, TokenDtype::kUint16);
  builder.add_tokens(tokens);
  builder.end_sequence();
  builder.end_document();
  builder.finish();
  return tokens;
}

}  // namespace sy::testing
