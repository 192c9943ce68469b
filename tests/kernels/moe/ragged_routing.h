// Assignment lists of awkward shapes, with the index tables that the CPU body builds for them.
#pragma once

#include <string>
#include <vector>

#include "kernels/moe/index_build.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy::test {

struct RaggedRouting {
  std::string name;
  int64_t tokens = 0, experts = 0, per_token = 1, alignment = 1, entries = 0, rows = 0;
  std::vector<int32_t> token, expert;
  std::vector<uint8_t> kept;
  // Tables of kernels/moe/index_build.h, one slot per expert.
  std::vector<int32_t> seg_start, seg_count, row_end, row_entry, row_token, entry_row, token_start, token_entry;
};

inline void build_tables(RaggedRouting& r) {
  r.entries = static_cast<int64_t>(r.token.size());
  r.rows = kernels::index_build_rows(r.entries, r.experts, r.alignment);
  r.seg_start.resize(r.experts), r.seg_count.resize(r.experts), r.row_end.resize(1);
  r.row_entry.resize(r.rows), r.row_token.resize(r.rows), r.entry_row.resize(r.entries);
  r.token_start.resize(r.tokens + 1), r.token_entry.resize(r.entries);
  kernels::index_build(kernels::Cpu{}, {.token = r.token.data(),
                                        .expert = r.expert.data(),
                                        .kept = r.kept.data(),
                                        .seg_start = r.seg_start.data(),
                                        .seg_count = r.seg_count.data(),
                                        .row_end = r.row_end.data(),
                                        .row_entry = r.row_entry.data(),
                                        .row_token = r.row_token.data(),
                                        .entry_row = r.entry_row.data(),
                                        .token_start = r.token_start.data(),
                                        .token_entry = r.token_entry.data(),
                                        .entries = r.entries,
                                        .tokens = r.tokens,
                                        .experts = r.experts,
                                        .slots = r.experts,
                                        .rows = r.rows,
                                        .row_alignment = r.alignment});
}

// Entries t*k .. t*k+k-1 of token t go to distinct experts out of [first, last]; some are holes, some dropped.
inline RaggedRouting ragged(const std::string& name, int64_t tokens, int64_t experts, int64_t per_token,
                            int64_t alignment, int64_t first, int64_t last, bool with_holes) {
  RaggedRouting r;
  r.name = name, r.tokens = tokens, r.experts = experts, r.per_token = per_token, r.alignment = alignment;
  const int64_t choices = last - first + 1;
  const std::vector<int32_t> start = random_integers(tokens, 0, static_cast<int32_t>(choices - 1), 5);
  const std::vector<int32_t> dice = random_integers(tokens * per_token, 0, 9, 6);
  for (int64_t n = 0; n < tokens * per_token; ++n) {
    const int64_t t = n / per_token, j = n % per_token;
    const bool hole = with_holes && dice[n] == 0;
    r.token.push_back(hole ? -1 : static_cast<int32_t>(t));
    r.expert.push_back(hole ? -1 : static_cast<int32_t>(first + (start[t] + j * 7) % choices));
    r.kept.push_back(!(hole || (with_holes && dice[n] == 1)));
  }
  build_tables(r);
  return r;
}

// The list in expert-major order, as expert choice writes it: a token's entries are far apart.
inline RaggedRouting expert_major(RaggedRouting r) {
  RaggedRouting s = r;
  s.name += ", expert-major";
  s.token.clear(), s.expert.clear(), s.kept.clear();
  for (int64_t e = -1; e < r.experts; ++e)
    for (size_t n = r.token.size(); n-- > 0;)
      if (r.expert[n] == e) s.token.push_back(r.token[n]), s.expert.push_back(r.expert[n]), s.kept.push_back(r.kept[n]);
  build_tables(s);
  return s;
}

inline std::vector<RaggedRouting> ragged_routings() {
  return {
      ragged("no token", 0, 4, 2, 1, 0, 3, false),
      ragged("no token, aligned", 0, 3, 2, 128, 0, 2, false),
      ragged("one token", 1, 4, 2, 1, 0, 3, false),
      ragged("plain", 50, 8, 2, 1, 0, 7, false),
      ragged("first and last experts empty", 37, 9, 2, 1, 2, 6, true),
      ragged("one expert takes all", 130, 5, 1, 1, 3, 3, false),
      ragged("one expert takes all, aligned", 130, 3, 1, 128, 1, 1, true),
      ragged("aligned with pads", 70, 6, 3, 128, 0, 4, true),
      ragged("many experts", 61, 97, 4, 1, 0, 96, true),
      expert_major(ragged("many experts", 45, 70, 3, 128, 0, 69, true)),
  };
}

}  // namespace sy::test
