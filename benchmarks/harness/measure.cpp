#include "benchmarks/harness/measure.h"

#include <algorithm>
#include <cmath>

namespace sy::bench {

namespace {

// Of the L2 of an H100 and of the last-level caches of large CPUs, rounded up.
constexpr double kCacheBytes = 256e6;
constexpr int64_t kMaxCopies = 8;

double run_us(Timer& timer, const Contender& contender, int64_t launches, std::size_t& next) {
  timer.start();
  for (int64_t i = 0; i < launches; ++i) contender.launches[next++ % contender.launches.size()]();
  return timer.stop_us() / static_cast<double>(launches);
}

}  // namespace

Timing summarise(std::vector<double> samples) {
  SY_CHECK(!samples.empty(), "no samples");
  std::sort(samples.begin(), samples.end());
  const auto rank = [&](double fraction) {
    const auto n = static_cast<double>(samples.size());
    return samples[static_cast<std::size_t>(std::max(1.0, std::ceil(fraction * n))) - 1];
  };
  return {rank(0.5), rank(0.1), rank(0.9)};
}

std::vector<Timing> measure(Timer& timer, const std::vector<Contender>& contenders, const MeasureOptions& options) {
  std::vector<int64_t> launches;
  std::vector<std::size_t> next(contenders.size(), 0);
  for (std::size_t c = 0; c < contenders.size(); ++c) {
    const auto copies = static_cast<int64_t>(contenders[c].launches.size());
    run_us(timer, contenders[c], copies, next[c]);  // the first touch of every operand
    const double us = run_us(timer, contenders[c], copies, next[c]);
    launches.push_back(std::clamp<int64_t>(std::llround(options.sample_us / std::max(us, 0.01)), 1, 10000));
  }
  std::vector<std::vector<double>> samples(contenders.size());
  const auto sample = [&](std::size_t c) { samples[c].push_back(run_us(timer, contenders[c], launches[c], next[c])); };
  for (int64_t round = 0; round < options.rounds; ++round) {
    for (std::size_t c = 0; c < contenders.size(); ++c) sample(c);
    for (std::size_t c = contenders.size(); c-- > 0;) sample(c);
  }
  std::vector<Timing> timings;
  for (std::vector<double>& s : samples) timings.push_back(summarise(std::move(s)));
  return timings;
}

int64_t operand_copies(double bytes) {
  return std::clamp<int64_t>(static_cast<int64_t>(std::ceil(kCacheBytes / std::max(bytes, 1.0))) + 1, 2, kMaxCopies);
}

}  // namespace sy::bench
