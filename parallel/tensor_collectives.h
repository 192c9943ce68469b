// Collectives on tensors, wherever they live. Not differentiable: collective_ops.h has those.
//
// On the CPU the tensors themselves travel. On a GPU device memory travels on the context's communication stream, where
// the communicator can do that (Comm::device): a transfer begins when the compute stream has come to where it was
// started, and what is computed after wait() comes after it; the host waits for neither. Elsewhere transfers are staged
// through the host: start copies to it, wait() back. On the meta device nothing travels.
//
// Contracts as in comm.h. The tensors stay untouched until wait() has returned; the request keeps their memory.
#pragma once

#include <span>

#include "csrc/core/context.h"
#include "parallel/comm.h"

namespace sy {

CommRequest start_all_gather(Context& ctx, Comm& comm, const Tensor& mine, const Tensor& all);
CommRequest start_reduce_scatter_sum(Context& ctx, Comm& comm, const Tensor& all, const Tensor& mine);
// send_rows[r] rows of x, in order, for rank r; y gets recv_rows[r] rows from rank r, in rank order.
CommRequest start_all_to_all_rows(Context& ctx, Comm& comm, const Tensor& x, std::span<const int64_t> send_rows,
                                  const Tensor& y, std::span<const int64_t> recv_rows);

// Awaited where they start. `what` travels: its name in a step's trace, which the start_ forms leave to their callers.
void all_gather(Context& ctx, Comm& comm, const Tensor& mine, const Tensor& all, const char* what);
void reduce_scatter_sum(Context& ctx, Comm& comm, const Tensor& all, const Tensor& mine, const char* what);
// In place, added in rank order.
void all_reduce_sum(Context& ctx, Comm& comm, const Tensor& values, const char* what);

}  // namespace sy
