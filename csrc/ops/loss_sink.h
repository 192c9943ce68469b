// LossSink: named scalar losses of one optimizer step, summed on the device, already divided by global denominators.
//
// Each name owns one f64. Summing the sink over micro-batches and ranks gives the losses of the whole batch. Ops add to
// slot(name); the trainer zeroes it at the start of a step and reads it once, late.
#pragma once

#include <string>
#include <vector>

#include "csrc/core/context.h"

namespace sy {

class LossSink {
 public:
  explicit LossSink(Context& ctx) : ctx_(ctx), totals_(ctx.zeros({kMaxLosses}, DType::f64, MemoryKind::data)) {}

  // A [1] f64 view to add to; the same name gives the same slot.
  Tensor slot(const std::string& name) {
    for (std::size_t i = 0; i < names_.size(); ++i)
      if (names_[i] == name) return totals_.slice(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1);
    SY_CHECK(names_.size() < static_cast<std::size_t>(kMaxLosses), "more than {} different losses", kMaxLosses);
    names_.push_back(name);
    return totals_.slice(static_cast<int64_t>(names_.size()) - 1, static_cast<int64_t>(names_.size()));
  }
  void reset() { ctx_.set_zero(totals_); }
  const std::vector<std::string>& names() const { return names_; }
  const Tensor& totals() const { return totals_; }

 private:
  static constexpr int64_t kMaxLosses = 16;
  Context& ctx_;
  Tensor totals_;
  std::vector<std::string> names_;
};

}  // namespace sy
