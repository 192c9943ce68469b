// `switchyard verify`: does this layout train the same model as one rank?
#pragma once

#include "parallel/comm.h"

namespace sy {

// 0: every number within its bound, 1: not.
int run_verify(int argc, char** argv, Comm& comm);

}  // namespace sy
