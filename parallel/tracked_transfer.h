// Transfers in a step's trace (csrc/core/step_trace.h): what leaves this rank, when it starts and when it is awaited.
// Every collective of a training step passes through here, on the meta device as well, where nothing travels.
#pragma once

#include <span>
#include <string>

#include "csrc/core/context.h"
#include "csrc/core/step_trace.h"
#include "parallel/comm.h"

namespace sy {

// A share of `share_bytes` for, or from, each rank of the group: what a gathering or a reduction of shares moves.
Transfer share_per_rank(const Comm& comm, const std::string& what, int64_t share_bytes);
// A sum of `bytes` for all ranks: each adds up a share, and the shares are gathered.
Transfer sum_for_all(const Comm& comm, const std::string& what, int64_t bytes);

constexpr int64_t kNextOfItsKind = -1;
// The request of a transfer that starts here; its wait() is noted when it comes. Nothing remains to be awaited when
// ctx.overlap is false.
CommRequest tracked(const Context& ctx, const Transfer& transfer, CommRequest request, int64_t number = kNextOfItsKind);
// A transfer that is awaited where it starts. On one rank there is none.
void track_awaited(const Context& ctx, const Transfer& transfer);

// In place, of values on the host.
template <class T>
void all_reduce_sum_on_host(const Context& ctx, Comm& comm, std::span<T> values, const std::string& what) {
  track_awaited(ctx, sum_for_all(comm, what, static_cast<int64_t>(values.size_bytes())));
  comm.all_reduce_sum(values);
}

}  // namespace sy
