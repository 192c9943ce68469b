// Timing of several contenders on one problem: interleaved, on operands that the cache does not hold.
//
// Each contender has one launch per copy of the problem's operands; consecutive launches take the copies in turn. A
// sample is the mean of enough consecutive launches to last `sample_us`. One round samples all contenders in order,
// then in reverse (A-B-B-A), so that a drift of the clock meets all of them alike.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "benchmarks/harness/timer.h"

namespace sy::bench {

struct Contender {
  std::string name;
  std::vector<std::function<void()>> launches;  // one per copy of the operands
};

// Microseconds of one launch.
struct Timing {
  double median_us = 0, p10_us = 0, p90_us = 0;
};

struct MeasureOptions {
  int64_t rounds = 5;
  double sample_us = 2000;
};

// Nearest-rank percentiles; at least one sample.
Timing summarise(std::vector<double> samples_us);
// One Timing per contender, in their order. Every launch runs once before the first sample.
std::vector<Timing> measure(Timer& timer, const std::vector<Contender>& contenders, const MeasureOptions& options);
// Copies of operands of `bytes` in all, such that a launch finds its own out of the largest cache.
int64_t operand_copies(double bytes);

}  // namespace sy::bench
