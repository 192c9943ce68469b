// `switchyard eval CHECKPOINT`: perplexity of a text file, accuracy on multiple-choice items.
#pragma once

#include "parallel/comm.h"

namespace sy {

// argv[0] is the subcommand's name. Progress goes to stderr, results to stdout and, with --json, to a file.
int run_eval(int argc, char** argv, Comm& comm);

}  // namespace sy
