// CPU body of the index tables: two serial counting sorts, one thread each. The tables are a few bytes per entry beside
// the kilobytes per entry that the expert products move, so finer parallelism would not be seen.
#include "kernels/moe/index_build.h"

#include <limits>
#include <vector>

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {
namespace {

int64_t slot_of(const IndexBuild& args, int64_t n) {
  const int32_t expert = args.expert[n];
  return args.slot_of_expert ? args.slot_of_expert[expert] : expert;
}

bool has_row(const IndexBuild& args, int64_t n) { return args.expert[n] >= 0 && (!args.kept || args.kept[n]); }

// Everything that would otherwise write outside a table. Checked before threads start: they must not throw.
void check_ranges(const IndexBuild& args) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  SY_KERNEL_CHECK(args.row_alignment >= 1);
  SY_KERNEL_CHECK(args.entries <= kMax && args.rows <= kMax);
  SY_KERNEL_CHECK(args.rows >= index_build_rows(args.entries, args.slots, args.row_alignment));
  if (args.slot_of_expert) {
    for (int64_t e = 0; e < args.experts; ++e)
      SY_KERNEL_CHECK(args.slot_of_expert[e] >= 0 && args.slot_of_expert[e] < args.slots);
  } else {
    SY_KERNEL_CHECK(args.experts <= args.slots);
  }
  bool inside = true;
  for (int64_t n = 0; n < args.entries; ++n)
    inside &=
        args.expert[n] < 0 || (args.expert[n] < args.experts && args.token[n] >= 0 && args.token[n] < args.tokens);
  SY_KERNEL_CHECK(inside && "every assignment names an existing token and expert");
}

void sort_by_slot(const IndexBuild& args) {
  std::fill_n(args.seg_count, args.slots, 0);
  for (int64_t n = 0; n < args.entries; ++n)
    if (has_row(args, n)) ++args.seg_count[slot_of(args, n)];
  std::vector<int32_t> next(args.slots);
  int64_t row = 0;
  for (int64_t s = 0; s < args.slots; ++s) {
    args.seg_start[s] = next[s] = static_cast<int32_t>(row);
    row = (row + args.seg_count[s] + args.row_alignment - 1) / args.row_alignment * args.row_alignment;
  }
  *args.row_end = static_cast<int32_t>(row);
  std::fill_n(args.row_entry, args.rows, -1);
  std::fill_n(args.row_token, args.rows, -1);
  for (int64_t n = 0; n < args.entries; ++n) {
    if (!has_row(args, n)) {
      args.entry_row[n] = -1;
      continue;
    }
    const int32_t r = next[slot_of(args, n)]++;
    args.entry_row[n] = r;
    args.row_entry[r] = static_cast<int32_t>(n);
    args.row_token[r] = args.token[n];
  }
}

void sort_by_token(const IndexBuild& args) {
  // token_start[t + 1] first counts, then starts token t, and has advanced to its end when all entries are placed.
  std::fill_n(args.token_start, args.tokens + 1, 0);
  for (int64_t n = 0; n < args.entries; ++n)
    if (args.expert[n] >= 0) ++args.token_start[args.token[n] + 1];
  int32_t start = 0;
  for (int64_t t = 0; t < args.tokens; ++t) {
    const int32_t count = args.token_start[t + 1];
    args.token_start[t + 1] = start;
    start += count;
  }
  for (int64_t n = 0; n < args.entries; ++n)
    if (args.expert[n] >= 0) args.token_entry[args.token_start[args.token[n] + 1]++] = static_cast<int32_t>(n);
  std::fill(args.token_entry + start, args.token_entry + args.entries, -1);
}

}  // namespace

void index_build(Cpu, const IndexBuild& args) {
  check_ranges(args);
#pragma omp parallel sections if (args.entries >= cpu_rows::kParallelElements)
  {
#pragma omp section
    sort_by_slot(args);
#pragma omp section
    sort_by_token(args);
  }
}

void expert_count(Cpu, const ExpertCount& args) {
  std::fill_n(args.count, args.experts, 0);
  for (int64_t n = 0; n < args.entries; ++n) {
    const int32_t expert = args.expert[n];
    if (expert < 0 || (args.kept && !args.kept[n])) continue;
    SY_KERNEL_CHECK(expert < args.experts);
    ++args.count[expert];
  }
}

}  // namespace sy::kernels
