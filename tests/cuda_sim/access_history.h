// Which accesses of a kernel are ordered, and what is remembered of the accesses to one piece of memory.
//
// Time is a phase: a number that grows at every launch, start of a block and block barrier. Blocks run one after the
// other, so one number tells the three cases apart: an access is of an earlier launch (ordered), of an earlier block of
// this launch (not ordered), or of an earlier phase of this block (ordered by the barrier). Within a phase, threads of
// different warps are not ordered. Lanes of a warp are ordered by __syncwarp: each lane carries a vector clock over the
// 32 lanes, in numbers of the warp's barriers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sy::cuda_sim {

// Accesses of one kind to one piece of memory, as far as a later access can conflict with them.
struct AccessSet {
  uint32_t first = 0;  // phase of the first one in its launch (shared memory: block)
  uint32_t last = 0;   // phase of the last one; 0 never. What follows is about this phase only
  uint32_t lanes = 0;  // of one warp: who accessed it and is not ordered before a later one of them
  uint32_t stamp = 0;  // the latest warp barrier that one of these lanes had behind it
  uint32_t site = 0;   // return address of one access, from the image's base: the first one by these lanes
  uint16_t warp = 0;
  bool several_warps = false;
};

class AccessClock {
 public:
  void begin_launch() { launch_start_ = ++phase_; }
  void begin_block() { block_start_ = ++phase_; }
  void block_barrier() { ++phase_; }
  void warp_barrier(int warp, unsigned mask);
  void enter_thread(int thread) {
    warp_ = static_cast<uint16_t>(thread / 32);
    lane_ = thread % 32;
    known_ = &warps_[warp_].known[lane_];
  }

  // Memory lives since its launch began or, if shared, since its block did.
  uint32_t start_of(bool is_shared) const { return is_shared ? block_start_ : launch_start_; }
  bool of_earlier_block(const AccessSet& set) const { return set.first < block_start_; }

  // Whether an access of the set, since `start`, is not ordered before one that the current thread makes now.
  bool is_concurrent(const AccessSet& set, uint32_t start) const {
    if (set.last < start) return false;
    if (set.first < block_start_) return true;
    if (set.last < phase_) return false;
    if (set.several_warps || set.warp != warp_) return true;
    return unordered_lanes(set) != 0;
  }
  // Whether an access that the current thread makes now is in the set already: since the last barrier it has made one,
  // or threads of several warps have, whom nothing can order. Who could conflict with it has then been reported.
  bool contains(const AccessSet& set) const {
    if (set.last != phase_) return false;
    return set.several_warps ||
           (set.warp == warp_ && (set.lanes >> lane_ & 1u) != 0 && set.stamp == (*known_)[static_cast<size_t>(lane_)]);
  }
  // Lanes of the set, other than the current one, whose access is not ordered before now.
  unsigned unordered_lanes(const AccessSet& set) const;
  // The current thread makes an access of this kind.
  void add(AccessSet& set, uint32_t start, uint32_t site) const;

 private:
  using LaneClocks = std::array<uint32_t, 32>;
  struct Warp {
    uint32_t barriers = 0;
    // known[l][m]: the last barrier of lane m that is ordered before what lane l does now.
    std::array<LaneClocks, 32> known{};
  };
  std::array<Warp, 32> warps_{};
  uint32_t phase_ = 0, launch_start_ = 0, block_start_ = 0;
  uint16_t warp_ = 0;
  int lane_ = 0;
  const LaneClocks* known_ = nullptr;
};

}  // namespace sy::cuda_sim
