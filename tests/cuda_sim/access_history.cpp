// Vector clocks of warps and sets of accesses. See access_history.h.
#include "tests/cuda_sim/access_history.h"

#include <algorithm>

namespace sy::cuda_sim {

void AccessClock::warp_barrier(int warp, unsigned mask) {
  Warp& w = warps_[static_cast<size_t>(warp)];
  LaneClocks joined{};
  for (unsigned l = 0; l < 32; ++l)
    if (mask >> l & 1u)
      for (unsigned m = 0; m < 32; ++m) joined[m] = std::max(joined[m], w.known[l][m]);
  ++w.barriers;
  for (unsigned m = 0; m < 32; ++m)
    if (mask >> m & 1u) joined[m] = w.barriers;
  for (unsigned l = 0; l < 32; ++l)
    if (mask >> l & 1u) w.known[l] = joined;
}

unsigned AccessClock::unordered_lanes(const AccessSet& set) const {
  const unsigned others = set.lanes & ~(1u << lane_);
  // What this lane knows it knows from barriers up to its own last one.
  if ((*known_)[static_cast<size_t>(lane_)] <= set.stamp) return others;
  unsigned unordered = 0;
  for (unsigned rest = others; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    // An access with `stamp` barriers behind it is ordered by a later barrier.
    if ((*known_)[static_cast<size_t>(lane)] <= set.stamp) unordered |= 1u << lane;
  }
  return unordered;
}

void AccessClock::add(AccessSet& set, uint32_t start, uint32_t site) const {
  const uint32_t own_stamp = (*known_)[static_cast<size_t>(lane_)];
  const unsigned own_bit = 1u << lane_;
  if (set.last < start) set.first = phase_;
  if (set.last < start || set.last < phase_) {
    set.last = phase_, set.lanes = own_bit, set.stamp = own_stamp, set.warp = warp_, set.several_warps = false;
    set.site = site;
  } else if (set.warp != warp_) {
    set.several_warps = true;
  } else if (set.lanes == own_bit) {
    set.stamp = own_stamp, set.site = site;
  } else {
    set.lanes = unordered_lanes(set) | own_bit;
    // One stamp for all: with barriers of changing subsets of a warp, an earlier read may count as later than it was.
    set.stamp = std::max(set.stamp, own_stamp);
  }
}

}  // namespace sy::cuda_sim
