// CPU bodies of the dispatch plan: a pass over the tables each, a few integers per entry and rank.
#include "kernels/moe/dispatch_plan.h"

#include <limits>

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {
namespace {

// Entries are few beside the rows that travel with them, but their experts and tokens decide where this file writes.
void check_ranges(const DispatchPlan& a) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  const int64_t experts = a.expert_ranks * a.experts_per_rank;
  SY_KERNEL_CHECK(a.expert_ranks >= 1 && a.tensor_ranks >= 1 && a.experts_per_rank >= 1);
  SY_KERNEL_CHECK(a.tokens * a.expert_ranks * a.tensor_ranks <= kMax && a.entries * a.tensor_ranks <= kMax);
  bool inside = true;
  for (int64_t n = 0; n < a.entries; ++n)
    inside &= a.expert[n] < 0 || (a.expert[n] < experts && a.token[n] >= 0 && a.token[n] < a.tokens);
  SY_KERNEL_CHECK(inside && "every entry names a token of the shard and an expert of the group");
}

}  // namespace

void dispatch_plan(Cpu, const DispatchPlan& a) {
  check_ranges(a);
  const int64_t ranks = a.expert_ranks * a.tensor_ranks;
  for (int64_t i = 0; i < a.tokens * ranks; ++i) {
    a.pair_token[i] = static_cast<int32_t>(i / ranks);
    a.pair_rank[i] = -1;
  }
  for (int64_t n = 0; n < a.entries; ++n) {
    const bool travels = a.expert[n] >= 0 && (!a.kept || a.kept[n]);
    const int64_t first_rank = travels ? a.expert[n] / a.experts_per_rank * a.tensor_ranks : 0;
    for (int64_t j = 0; j < a.tensor_ranks; ++j) {
      const int64_t c = n * a.tensor_ranks + j;
      const auto rank = static_cast<int32_t>(first_rank + j);
      a.copy_entry[c] = static_cast<int32_t>(n);
      a.copy_rank[c] = travels ? rank : -1;
      if (travels) a.pair_rank[a.token[n] * ranks + rank] = rank;
    }
  }
}

void pack_entries(Cpu, const PackEntries& a) {
  const int64_t ranks = a.expert_ranks * a.tensor_ranks;
#pragma omp parallel for schedule(static) if (a.rows >= cpu_rows::kParallelElements)
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t c = a.row_entry[r];
    int32_t* out = a.payload + 2 * r;
    if (c < 0) {
      out[0] = out[1] = -1;
      continue;
    }
    const int64_t n = c / a.tensor_ranks, rank = a.copy_rank[c];
    out[0] = a.pair_row[a.token[n] * ranks + rank] - a.pair_start[rank];
    out[1] = static_cast<int32_t>(a.expert[n] % a.experts_per_rank);
  }
}

void unpack_entries(Cpu, const UnpackEntries& a) {
  SY_KERNEL_CHECK(a.entry_start[a.ranks] <= a.entries);
  for (int64_t g = 0; g < a.ranks; ++g) {
    for (int64_t i = a.entry_start[g]; i < a.entry_start[g + 1]; ++i) {
      a.token_out[i] = a.payload[2 * i] + a.row_start[g];
      a.expert_out[i] = a.payload[2 * i + 1];
    }
  }
  for (int64_t i = a.entry_start[a.ranks]; i < a.entries; ++i) {
    a.token_out[i] = 0;
    a.expert_out[i] = -1;
  }
}

}  // namespace sy::kernels
