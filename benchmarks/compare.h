// Comparison of two result files (benchmarks/harness/report.h): which rows became slower.
//
// A row is slower when its median is more than `threshold` above the older one AND the bands do not overlap: its 10th
// percentile lies above the older 90th. What a noisy machine cannot tell apart is not called slower. A row that only
// the older file has is a failure as well: it may have crashed. Rows of new benchmarks and peers' rows are shown, not
// judged.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace sy::bench {

struct Comparison {
  std::string text;  // one line per row
  int64_t slower = 0, missing = 0;
  bool failed() const { return slower + missing > 0; }
};
Comparison compare_results(const nlohmann::json& older, const nlohmann::json& newer, double threshold = 0.03);

}  // namespace sy::bench
