// `switchyard methods`: every registered method with its one-line summary, and the generated references.
#pragma once

namespace sy {

int run_methods(int argc, char** argv);

}  // namespace sy
