// `switchyard bench step --case DIR`: times full training steps on a case that other implementations run too.
#pragma once

#include "parallel/comm.h"

namespace sy {

int run_bench(int argc, char** argv, Comm& comm);

}  // namespace sy
