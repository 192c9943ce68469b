// Simulated NCCL, between the processes of an MPI job: what tests may do to it beyond nccl.h.
//
// Every process stands for one GPU. A group call is one operation of its stream (streams.h): its messages start when it
// runs, together, and it is done when all have arrived at both ends; a call outside a group is an operation of its own.
// Lengths that sender and receiver do not agree on, which real NCCL answers with a hang or with wrong data, are a Fault
// of the receiver; a message that nobody expects or sends is a hang here as well. While a host waits inside MPI the
// device goes on, as a real one would: MPI_Test is defined here to see to that.
#pragma once

#include <nccl.h>

namespace sy::cuda_sim {

// What ncclCommGetAsyncError says of every communicator, as when a link breaks.
void set_nccl_async_error(ncclResult_t error);

}  // namespace sy::cuda_sim
