// The special tokens that a tokenizer.json and its neighbour tokenizer_config.json name: those around a text
// (post_processor) and the end of a document.
#pragma once

#include <string>
#include <vector>

#include "csrc/io/tokenizer.h"

namespace sy {

struct Component;

// Of the post-processor TemplateProcessing for a single text; ByteLevel (which moves offsets only) and null add none.
SpecialIds read_special_ids(const Component& post_processor);

// Rule in hf_tokenizer.h; `tokens` by id.
int32_t find_eod_id(const std::string& path, const std::vector<std::string>& tokens);

}  // namespace sy
