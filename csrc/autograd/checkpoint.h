// Activation recomputation as an op:  y = fn(x), keeping only x (and the routing decisions made inside fn).
//
// Forward runs fn without recording. Backward runs fn again on a tape of its own and then backwards through it. Random
// numbers are counter-based, so they repeat; routing assignments are replayed from the first run rather than decided
// again, and losses and counters are not touched a second time (ctx.replay tells ops which run they are in).
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "csrc/autograd/tape.h"

namespace sy {

// Integer tensors saved by the first run of a region and handed back, in order, to the second.
class Replay {
 public:
  // True during the second run: use saved decisions, do not add losses or counts again.
  bool replaying() const { return replaying_; }
  void save(std::vector<Tensor> decision) { saved_.push_back(std::move(decision)); }
  std::vector<Tensor> next();
  void begin_replay() { replaying_ = true; }

 private:
  std::deque<std::vector<Tensor>> saved_;
  bool replaying_ = false;
};

Var checkpoint(Context& ctx, const Var& x, std::function<Var(Context&, const Var&)> fn);

}  // namespace sy
