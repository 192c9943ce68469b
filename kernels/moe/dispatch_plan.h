// What a rank sends to the ranks of its expert group: rows of tokens, each at most once per destination, and beside
// them the entries that tell the destination which of its experts each row is for.
//
// The group has G = expert_ranks * tensor_ranks ranks; rank g = p * tensor_ranks + j holds slice j of the experts
// [p * experts_per_rank, (p + 1) * experts_per_rank). Every slice works on whole tokens, so a token goes to all
// tensor_ranks ranks of an expert. The list (token in [0, tokens), expert [entries] i32, expert < 0: a hole; kept
// [entries] u8, nullable: 0 for dropped) names the rank's own tokens (kernels/moe/shard_assignment.h).
//
// dispatch_plan writes two lists for kernels/moe/index_build.h, which sorts each by rank, stably (slots = G, alignment
// 1):
//   pairs  [tokens * G]:             pair_token[t*G + g] = t
//          pair_rank[t*G + g] = g if a kept entry of token t has its expert on rank g, else -1
//   copies [entries * tensor_ranks]: copy_entry[n*tensor_ranks + j] = n
//          copy_rank[n*tensor_ranks + j] = p * tensor_ranks + j of entry n's expert, -1 for holes and dropped entries
//
// pack_entries: payload [rows, 2] i32 in the order in which the entries travel. Row r holds copy c = row_entry[r] of
// entry n = c / tensor_ranks, which goes to rank g = copy_rank[c]:
//   payload[r] = (pair_row[token[n]*G + g] - pair_start[g],  expert[n] mod experts_per_rank)
// the place of the token's row among the rows sent to g, and the expert's number there. row_entry [rows] is that of the
// copies' index, pair_row [tokens*G] is entry_row and pair_start [G] seg_start of the pairs' index. Where row_entry is
// -1, behind the last row, payload is (-1, -1).
//
// unpack_entries, on the other side: payload [entries, 2] as received, that of rank g in
// [entry_start[g], entry_start[g+1]); the rows of tokens received from rank g start at row_start[g]:
//   token_out[i] = payload[i][0] + row_start[g],  expert_out[i] = payload[i][1]
// and a hole (0, -1) from entry_start[G] on, where the caller's bound exceeds what came. entry_start [G+1], row_start
// [G] i32 on the device; entry_start[0] = 0.
//
// Every output is i32 and set whole; exact and deterministic.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

struct DispatchPlan {
  const int32_t* token = nullptr;
  const int32_t* expert = nullptr;
  const uint8_t* kept = nullptr;
  int32_t* pair_token = nullptr;
  int32_t* pair_rank = nullptr;
  int32_t* copy_entry = nullptr;
  int32_t* copy_rank = nullptr;
  int64_t entries = 0, tokens = 0;
  int64_t expert_ranks = 1, tensor_ranks = 1, experts_per_rank = 1;

  Work work() const {
    return {.bytes = bytes_of<int32_t, int32_t>(entries * (1 + tensor_ranks) + tokens * expert_ranks * tensor_ranks)};
  }
};

struct PackEntries {
  const int32_t* token = nullptr;
  const int32_t* expert = nullptr;
  const int32_t* copy_rank = nullptr;
  const int32_t* row_entry = nullptr;
  const int32_t* pair_row = nullptr;
  const int32_t* pair_start = nullptr;
  int32_t* payload = nullptr;
  int64_t rows = 0;
  int64_t expert_ranks = 1, tensor_ranks = 1, experts_per_rank = 1;

  Work work() const { return {.bytes = bytes_of<int32_t, int32_t, int32_t, int32_t, int32_t, int32_t>(rows)}; }
};

struct UnpackEntries {
  const int32_t* payload = nullptr;
  const int32_t* entry_start = nullptr;
  const int32_t* row_start = nullptr;
  int32_t* token_out = nullptr;
  int32_t* expert_out = nullptr;
  int64_t entries = 0, ranks = 1;  // ranks: G

  Work work() const { return {.bytes = bytes_of<int32_t, int32_t, int32_t, int32_t>(entries)}; }
};

void dispatch_plan(Cpu, const DispatchPlan& args);
void dispatch_plan(Cuda, const DispatchPlan& args);
void pack_entries(Cpu, const PackEntries& args);
void pack_entries(Cuda, const PackEntries& args);
void unpack_entries(Cpu, const UnpackEntries& args);
void unpack_entries(Cuda, const UnpackEntries& args);

}  // namespace sy::kernels
