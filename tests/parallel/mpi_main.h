// Tests that run on several ranks: registered with sy_mpi_test(), started by mpirun, linked with mpi_main.cpp. Every
// rank runs every test, so a test must take part in the same collectives on all ranks whatever it finds (EXPECT, never
// ASSERT, before the last one).
#pragma once

#include "parallel/comm.h"

namespace sy::testing {

// The communicator of all ranks.
Comm& mpi_world();

}  // namespace sy::testing
