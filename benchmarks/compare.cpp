#include "benchmarks/compare.h"

#include <fmt/format.h>

#include <map>

#include "benchmarks/kernels/problem.h"

namespace sy::bench {

namespace {

std::map<std::string, nlohmann::json> by_name(const nlohmann::json& results) {
  std::map<std::string, nlohmann::json> rows;
  for (const auto& r : results.at("rows")) {
    const auto text = [&](const char* key) { return r.at(key).get<std::string>(); };
    rows[fmt::format("{} {} {} {} {} {}", text("benchmark"), text("shape"), r.at("tokens").get<int64_t>(),
                     text("routing"), text("dtype"), text("contender"))] = r;
  }
  return rows;
}

double number(const nlohmann::json& row, const char* key) { return row.at(key).get<double>(); }

}  // namespace

Comparison compare_results(const nlohmann::json& older, const nlohmann::json& newer, double threshold) {
  const auto before = by_name(older), after = by_name(newer);
  Comparison result;
  for (const auto& [name, old_row] : before) {
    const bool is_ours = old_row.at("contender").get<std::string>() == kOurs;
    const auto found = after.find(name);
    if (found == after.end()) {
      result.missing += is_ours ? 1 : 0;
      result.text += fmt::format("missing        {}\n", name);
      continue;
    }
    const double ratio = number(found->second, "median_us") / number(old_row, "median_us");
    const bool above_band = number(found->second, "p10_us") > number(old_row, "p90_us");
    const bool is_slower = is_ours && ratio > 1 + threshold && above_band;
    result.slower += is_slower ? 1 : 0;
    result.text += fmt::format("{:<7} x{:.3f} {}\n",
                               is_slower               ? "SLOWER"
                               : ratio > 1 + threshold ? "noise"
                                                       : "ok",
                               ratio, name);
  }
  for (const auto& [name, row] : after)
    if (!before.contains(name)) result.text += fmt::format("new            {}\n", name);
  return result;
}

}  // namespace sy::bench
