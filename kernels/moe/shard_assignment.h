// The part of a micro-batch's assignment list that one rank holds the tokens of, entry by entry.
//
// The list (token, expert [entries] i32; expert < 0: a hole; kept [entries] u8, nullable: 0 where capacity dropped the
// entry) covers the whole micro-batch; the rank holds the tokens [first_token, first_token + tokens), its shard.
//   token_out[n] = token[n] - first_token, expert_out[n] = expert[n]   for an entry whose token lies in the shard
//                                                                      (with only_dropped: and that is dropped)
//   token_out[n] = 0,                      expert_out[n] = -1          for every other entry: a hole
// Entry n keeps its place, so that weights and kept of the micro-batch go with the new list as they are; where kept is
// null nothing is dropped. token_out, expert_out [entries] i32 are set whole and may be token and expert themselves.
// Exact and deterministic.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

struct ShardAssignment {
  const int32_t* token = nullptr;
  const int32_t* expert = nullptr;
  const uint8_t* kept = nullptr;
  int32_t* token_out = nullptr;
  int32_t* expert_out = nullptr;
  int64_t entries = 0, first_token = 0, tokens = 0;
  bool only_dropped = false;

  Work work() const { return {.bytes = bytes_of<int32_t, int32_t, int32_t, int32_t>(entries)}; }
};

void shard_assignment(Cpu, const ShardAssignment& args);
void shard_assignment(Cuda, const ShardAssignment& args);

}  // namespace sy::kernels
