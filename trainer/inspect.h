// `switchyard inspect PATH`: what a config would need, or what a checkpoint or dataset holds.
#pragma once

namespace sy {

int run_inspect(int argc, char** argv);

}  // namespace sy
