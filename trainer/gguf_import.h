// GGUF files of the architecture llama, as models to convert: llama.cpp's keys and tensor names for ours, the rows of
// query and key projections in Hugging Face's order, the tokenizer as Hugging Face files.
//
// llama.cpp rotates neighbouring rows of a head, Hugging Face row j and row j + head / 2: in the file, row 2 j + p of a
// head is Hugging Face's row p * head / 2 + j (p = 0, 1).
#pragma once

#include "trainer/hub_import.h"

namespace sy {

// UserError names the file and what is not supported: every key llama.* is understood or an error.
ForeignModel open_gguf(const std::string& path);

}  // namespace sy
