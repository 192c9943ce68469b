// The one order in which scores are ranked: descending value, NaN below every number, ties to the lower id.
//
// It is a strict total order for distinct ids, so every sort by it has exactly one result.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/types.h"

namespace sy::kernels {

template <class A>
struct Ranked {
  A value;
  int32_t id;
};

template <class A>
SY_HD inline bool ranks_above(const Ranked<A>& a, const Ranked<A>& b) {
  if (a.value > b.value) return true;
  if (a.value < b.value) return false;
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return b_nan;
  return a.id < b.id;
}

// Moves the `best` highest of list[0 .. count) to its front, in order; the rest is left in no particular order.
template <class A>
void rank_best_first(Ranked<A>* list, int64_t count, int64_t best) {
  constexpr int64_t kInsertion = 16;  // up to here insertion beats sorting: most candidates fail one comparison
  if (best > kInsertion) {
    if (best < count) std::nth_element(list, list + best, list + count, ranks_above<A>);
    std::sort(list, list + best, ranks_above<A>);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const Ranked<A> candidate = list[i];
    int64_t place = std::min(i, best);
    if (place == best && (best == 0 || !ranks_above(candidate, list[best - 1]))) continue;
    if (place == best) --place;
    for (; place > 0 && ranks_above(candidate, list[place - 1]); --place) list[place] = list[place - 1];
    list[place] = candidate;
  }
}

}  // namespace sy::kernels
