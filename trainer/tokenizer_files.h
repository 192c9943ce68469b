// A Hugging Face tokenizer travels with the model that it was made for: tokenizer.json and, for the end-of-document
// token, the tokenizer_config.json beside it.
#pragma once

#include <string>

namespace sy {

// Copies the files of the tokenizer.json at `spec` (a data.tokenizer) into `folder`; nothing for "bytes". UserError if
// the file cannot be read.
void copy_tokenizer(const std::string& spec, const std::string& folder);

}  // namespace sy
