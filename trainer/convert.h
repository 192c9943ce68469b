// `switchyard convert SRC OUT`: a training checkpoint as a Hugging Face folder (hub_export.h), or a Hugging Face folder
// as a weights-only checkpoint (hub_import.h). Which of the two follows from what SRC is; --to only says it aloud.
#pragma once

#include "parallel/comm.h"

namespace sy {

int run_convert(int argc, char** argv, Comm& comm);

}  // namespace sy
