// Selection by token id:  expert[t*per_token + j] = table[token_id[t], j],  token[...] = t.
//
// token_id [tokens] i32 in [0, vocab), table [vocab, per_token] i32. Exact and deterministic.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

struct TableSelect {
  const int32_t* token_id = nullptr;
  const int32_t* table = nullptr;
  int32_t* token = nullptr;
  int32_t* expert = nullptr;
  int64_t tokens = 0, per_token = 1, vocab = 0;

  Work work() const { return {.bytes = bytes_of<int32_t, int32_t, int32_t>(tokens * per_token)}; }
};

void table_select(Cpu, const TableSelect& args);
void table_select(Cuda, const TableSelect& args);

}  // namespace sy::kernels
