// The tokenizer in the metadata of a GGUF file, tokenizer.ggml.*, as Hugging Face files (hf_tokenizer.h reads them).
// Supported is the model "gpt2", byte-level BPE; how text is cut into words is known by the name tokenizer.ggml.pre.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sy {

// tokenizer.json and tokenizer_config.json by name; nothing if the metadata has no tokenizer. UserError, beginning with
// `path`, for one that is not supported or does not hold together.
std::map<std::string, std::string> gguf_tokenizer_files(const nlohmann::json& metadata, const std::string& path);

}  // namespace sy
