// CUDA bodies of the shard's list and of the dispatch plan against their CPU bodies.
#include "kernels/moe/dispatch_plan.h"
#include "kernels/moe/index_build.h"
#include "kernels/moe/shard_assignment.h"
#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/ragged_routing.h"

namespace sy {
namespace {

using namespace sy::test;

// An output that starts as no value of these tables: -1 would hide a hole or pad left unset.
template <class S>
int32_t* unset(S& side, int64_t count) {
  return side.inout(std::vector<int32_t>(count, -99), kExact);
}

TEST(ShardAssignmentCuda, EqualsTheCpu) {
  for (const RaggedRouting& r : ragged_routings())
    for (const bool only_dropped : {false, true})
      for (const bool with_kept : {true, false}) {
        SCOPED_TRACE(r.name);
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          kernels::shard_assignment(backend, {.token = side.in(r.token),
                                              .expert = side.in(r.expert),
                                              .kept = with_kept ? side.in(r.kept) : nullptr,
                                              .token_out = unset(side, r.entries),
                                              .expert_out = unset(side, r.entries),
                                              .entries = r.entries,
                                              .first_token = r.tokens / 3,
                                              .tokens = r.tokens / 2,
                                              .only_dropped = only_dropped});
        });
      }
}

struct Sorted {
  const int32_t *seg_start, *row_entry, *entry_row;
  int64_t rows;
};

// The index of a list of (token, rank), as the dispatcher builds it.
template <class S, class Backend>
Sorted sorted_by_rank(S& side, Backend backend, const int32_t* token, const int32_t* rank, int64_t entries,
                      int64_t tokens, int64_t ranks) {
  const int64_t rows = kernels::index_build_rows(entries, ranks, 1);
  const auto table = [&](int64_t count) { return unset(side, count); };
  int32_t *seg_start = table(ranks), *row_entry = table(rows), *entry_row = table(entries);
  kernels::index_build(backend, {.token = token,
                                 .expert = rank,
                                 .seg_start = seg_start,
                                 .seg_count = table(ranks),
                                 .row_end = table(1),
                                 .row_entry = row_entry,
                                 .row_token = table(rows),
                                 .entry_row = entry_row,
                                 .token_start = table(tokens + 1),
                                 .token_entry = table(entries),
                                 .entries = entries,
                                 .tokens = tokens,
                                 .experts = ranks,
                                 .slots = ranks,
                                 .rows = rows});
  return {seg_start, row_entry, entry_row, rows};
}

TEST(DispatchPlanCuda, ListsAndPackedEntriesEqualTheCpu) {
  for (const RaggedRouting& r : ragged_routings())
    for (const int64_t expert_ranks : {1, 2, 4})
      for (const int64_t tensor_ranks : {1, 3}) {
        SCOPED_TRACE(testing::Message() << r.name << ", " << expert_ranks << " x " << tensor_ranks);
        const int64_t per_rank = (r.experts + expert_ranks - 1) / expert_ranks, ranks = expert_ranks * tensor_ranks;
        const int64_t pairs = r.tokens * ranks, copies = r.entries * tensor_ranks;
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          const int32_t *token = side.in(r.token), *expert = side.in(r.expert);
          const auto table = [&](int64_t count) { return unset(side, count); };
          int32_t *pair_token = table(pairs), *pair_rank = table(pairs);
          int32_t *copy_entry = table(copies), *copy_rank = table(copies);
          kernels::dispatch_plan(backend, {.token = token,
                                           .expert = expert,
                                           .kept = tensor_ranks > 1 ? side.in(r.kept) : nullptr,
                                           .pair_token = pair_token,
                                           .pair_rank = pair_rank,
                                           .copy_entry = copy_entry,
                                           .copy_rank = copy_rank,
                                           .entries = r.entries,
                                           .tokens = r.tokens,
                                           .expert_ranks = expert_ranks,
                                           .tensor_ranks = tensor_ranks,
                                           .experts_per_rank = per_rank});
          const Sorted by_pair = sorted_by_rank(side, backend, pair_token, pair_rank, pairs, r.tokens, ranks);
          const Sorted by_copy = sorted_by_rank(side, backend, copy_entry, copy_rank, copies, r.entries, ranks);
          kernels::pack_entries(backend, {.token = token,
                                          .expert = expert,
                                          .copy_rank = copy_rank,
                                          .row_entry = by_copy.row_entry,
                                          .pair_row = by_pair.entry_row,
                                          .pair_start = by_pair.seg_start,
                                          .payload = table(2 * by_copy.rows),
                                          .rows = by_copy.rows,
                                          .expert_ranks = expert_ranks,
                                          .tensor_ranks = tensor_ranks,
                                          .experts_per_rank = per_rank});
        });
      }
}

TEST(UnpackEntriesCuda, EqualsTheCpuWithEmptySendersAndRoomBehindTheLast) {
  struct Case {
    std::vector<int32_t> entry_start;
    int64_t entries;
  };
  for (const Case& c : {Case{{0, 0}, 0}, Case{{0, 5}, 5}, Case{{0, 0, 0}, 7}, Case{{0, 0, 3, 3, 3, 300, 300}, 310},
                        Case{{0, 1, 2, 3, 4}, 4}, Case{{0, 260, 260, 600}, 600}}) {
    const int64_t ranks = static_cast<int64_t>(c.entry_start.size()) - 1;
    SCOPED_TRACE(testing::Message() << c.entries << " entries from " << ranks << " ranks");
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      kernels::unpack_entries(backend, {.payload = side.in(random_integers(2 * c.entries, 0, 99, 1)),
                                        .entry_start = side.in(c.entry_start),
                                        .row_start = side.in(random_integers(ranks, 0, 1000, 2)),
                                        .token_out = unset(side, c.entries),
                                        .expert_out = unset(side, c.entries),
                                        .entries = c.entries,
                                        .ranks = ranks});
    });
  }
}

}  // namespace
}  // namespace sy
