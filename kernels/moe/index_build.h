// Index tables of a routing: two stable counting sorts of an assignment list, by expert slot and by token.
//
// Input: token, expert [entries] i32 (expert < 0: a hole); kept [entries] u8, nullable (0: dropped by capacity);
// slot_of_expert [experts] i32, nullable (identity): where an expert id's parameters live, in [0, slots).
// Rows: the kept entries of slot s, in ascending entry index, occupy rows seg_start[s] .. seg_start[s]+seg_count[s]-1;
// seg_start[0] = 0 and every segment starts at a multiple of row_alignment. Rows outside segments are pads.
// Output (all set whole):
//   seg_start, seg_count [slots] i32     row_end [1] i32: first row behind the last segment, rounded up to
//   row_alignment row_entry, row_token [rows] i32: entry and token of each row, -1 in pads (up to the bound `rows`)
//   entry_row [entries] i32: row of each entry, -1 for holes and dropped entries
//   token_start [tokens+1], token_entry [entries] i32: the non-hole entries of token t, dropped ones included,
//   ascending:
//     token_entry[token_start[t] .. token_start[t+1]), -1 behind the last one
// The caller guarantees rows >= index_build_rows(entries, slots, row_alignment). Deterministic; no atomics decide
// order.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

struct IndexBuild {
  const int32_t* token = nullptr;
  const int32_t* expert = nullptr;
  const uint8_t* kept = nullptr;
  const int32_t* slot_of_expert = nullptr;
  int32_t* seg_start = nullptr;
  int32_t* seg_count = nullptr;
  int32_t* row_end = nullptr;
  int32_t* row_entry = nullptr;
  int32_t* row_token = nullptr;
  int32_t* entry_row = nullptr;
  int32_t* token_start = nullptr;
  int32_t* token_entry = nullptr;
  int64_t entries = 0, tokens = 0, experts = 0, slots = 0, rows = 0, row_alignment = 1;

  Work work() const {
    return {.bytes = bytes_of<int32_t, int32_t, int32_t, int32_t>(entries) + bytes_of<int32_t, int32_t>(rows)};
  }
};

// Host-known bound on the number of rows.
inline int64_t index_build_rows(int64_t entries, int64_t slots, int64_t row_alignment) {
  const int64_t bound = entries + slots * (row_alignment - 1);
  return (bound + row_alignment - 1) / row_alignment * row_alignment;
}

// count[e] (i64, set) = number of entries with expert e; with `kept`, only those with kept != 0.
struct ExpertCount {
  const int32_t* expert = nullptr;
  const uint8_t* kept = nullptr;
  int64_t* count = nullptr;
  int64_t entries = 0, experts = 0;

  Work work() const { return {.bytes = bytes_of<int32_t>(entries)}; }
};

void index_build(Cpu, const IndexBuild& args);
void index_build(Cuda, const IndexBuild& args);
void expert_count(Cpu, const ExpertCount& args);
void expert_count(Cuda, const ExpertCount& args);

}  // namespace sy::kernels
