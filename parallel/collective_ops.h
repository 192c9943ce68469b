// Collectives as differentiable ops: what layers say about a mesh is these verbs, nothing else.
//
// Between the tensor-parallel parts of a model hidden states are "between" values: each tensor-parallel rank holds its
// share of the micro-batch's tokens, [T/tensor, D] (sequence parallelism), or all of them, equal on all ranks, [T, D].
// Inside a tensor-parallel part (column-parallel weights, then row-parallel weights) each rank sees all tokens and
// computes its heads, columns or vocabulary rows; its result is a partial sum.
//     enter: between -> all tokens inside      backward: sum over ranks of the partial gradients
//     leave: partial sums inside -> between    backward: the gradient of all tokens
// MoE layers work on token shards whatever lies between: each token is dispatched by one rank only.
//     to_shard: between -> shard               from_shard: shard -> between
//     whole_micro_batch: shard -> all tokens, equal on all ranks, for routing decisions that look at other tokens;
//                        every rank computes the same from it, so backward takes this rank's rows and sums nothing
// Sums run over ranks in order, in the accumulation type, and are rounded once. All are the identity on one
// tensor-parallel rank; on the meta device shapes are right and nothing travels.
#pragma once

#include <memory>
#include <vector>

#include "csrc/autograd/tape.h"
#include "parallel/mesh.h"
#include "parallel/tensor_collectives.h"

namespace sy::tp {

// 1 without a mesh.
int64_t ranks(const Context& ctx);
int64_t rank(const Context& ctx);
bool sequence_parallel(const Context& ctx);
// First token of this rank's shard of T tokens, and the shard's size.
int64_t shard_begin(const Context& ctx, int64_t tokens);
int64_t shard_tokens(const Context& ctx, int64_t tokens);

Var enter(Context& ctx, const Var& x);
Var leave(Context& ctx, const Var& partial);
Var to_shard(Context& ctx, const Var& x);
Var from_shard(Context& ctx, const Var& y);
Var whole_micro_batch(Context& ctx, const Var& shard);
// The same value; backward sums the gradients of all tensor-parallel ranks, each of which used its own part of it.
Var sum_gradients(Context& ctx, const Var& x);

}  // namespace sy::tp

namespace sy {

// Rows of x on their way: send_rows[r] of them, in order, to rank r of `comm`; they arrive as recv_rows[r] rows from
// rank r, in rank order. What is computed between depart() and arrive() runs while they travel; in backward gradients
// start home where arrive() stood and are awaited where depart() stood.
class RowsInFlight;
std::shared_ptr<RowsInFlight> depart(Context& ctx, Comm& comm, const Var& x, std::vector<int64_t> send_rows,
                                     std::vector<int64_t> recv_rows);
Var arrive(Context& ctx, const std::shared_ptr<RowsInFlight>& rows);

}  // namespace sy
