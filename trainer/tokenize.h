// `switchyard tokenize`: text and JSONL files -> <prefix>.bin/.idx.
#pragma once

namespace sy {

// argv[0] is the subcommand's name. Shows progress on stderr and a summary on stdout. Returns 0 (done, or help shown)
// or 2 (wrong command line, already explained); a mistake in the inputs throws UserError for main to report.
int run_tokenize(int argc, char** argv);

}  // namespace sy
