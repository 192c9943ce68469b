// Takes the place of comm_mpi.cpp in a build without MPI: always one rank.
#include <cstdlib>

#include "csrc/core/check.h"
#include "parallel/comm.h"

namespace sy {

MpiSession::MpiSession(int*, char***) {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (size != nullptr && std::atoi(size) > 1)
    user_error("started with {} ranks, but this build has no MPI; install libopenmpi-dev and configure again", size);
  world_ = make_single_comm();
}
MpiSession::~MpiSession() = default;
void MpiSession::abort(int) {}

}  // namespace sy
