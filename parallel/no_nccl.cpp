// Takes the place of comm_nccl.cpp in a build without NCCL.
#include "csrc/core/check.h"
#include "parallel/device_comm.h"

namespace sy {

std::unique_ptr<DeviceComm> make_nccl_comm(Comm&) { throw Error("make_nccl_comm: " + why_no_nccl()); }

std::string why_no_nccl() {
#if !defined(SY_HAS_CUDA)
  return "this build has no CUDA";
#elif !defined(SY_HAS_MPI)
  return "this build has no MPI, which NCCL's ranks find each other by";
#else
  return "this build has no NCCL; install libnccl-dev and configure again";
#endif
}

}  // namespace sy
