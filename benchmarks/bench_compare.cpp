// bench_compare OLDER.json NEWER.json: ratios of the medians; exit code 1 when something became slower or is missing.
#include <fmt/format.h>

#include <fstream>

#include "benchmarks/compare.h"
#include "csrc/core/check.h"

namespace {

nlohmann::json read(const char* path) {
  std::ifstream file(path);
  if (!file) sy::user_error("cannot read '{}'", path);
  return nlohmann::json::parse(file);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (argc != 3 || first == "--help") {
    fmt::print(
        "bench_compare OLDER.json NEWER.json\n\nThe ratio of the medians of every row. Exit code 1 when one of "
        "ours is more than 3 % slower with its\np10 above the older p90, or is missing; 2 for files that cannot "
        "be read.\n");
    return first == "--help" ? 0 : 2;
  }
  try {
    const nlohmann::json older = read(argv[1]), newer = read(argv[2]);
    const auto device = [](const nlohmann::json& r) { return r.at("facts").at("device").get<std::string>(); };
    if (device(older) != device(newer))
      fmt::print("warning: measured on different devices: {} and {}\n", device(older), device(newer));
    const sy::bench::Comparison c = sy::bench::compare_results(older, newer);
    fmt::print("{}{} slower, {} missing\n", c.text, c.slower, c.missing);
    return c.failed() ? 1 : 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_compare: {}\n", e.what());
    return 2;
  }
}
