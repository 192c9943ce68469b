#include "benchmarks/harness/report.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace sy::bench {

namespace {

// Whole or not at all: a reader never sees half a file.
void replace_file(const std::string& path, const std::string& text) {
  {
    std::ofstream file(path + ".new");
    file << text;
    if (!file.flush()) user_error("cannot write '{}'", path);
  }
  std::filesystem::rename(path + ".new", path);
}

std::string error_text(double error) { return error < 0 ? "not checked" : fmt::format("{:.1e}", error); }
std::string or_dash(double value, int digits) { return value > 0 ? fmt::format("{:.{}f}", value, digits) : "-"; }

}  // namespace

std::string table(const std::vector<Row>& rows, const std::vector<double>& over_peer) {
  std::string text =
      "| benchmark | shape | tokens | routing | type | contender | us | p10 | p90 | TFLOP/s | GB/s | % of floor | x "
      "peer "
      "| max error | norm error |\n| --- | --- | --: | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: "
      "| --: |\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& r = rows[i];
    const double us = r.timing.median_us;
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {:.1f} | {:.1f} | {:.1f} | {} | {} | {} | {} | {} | {} |\n",
                        r.benchmark, r.shape, r.tokens, r.routing, r.dtype, r.contender, us, r.timing.p10_us,
                        r.timing.p90_us, or_dash(r.work.flops / us * 1e-6, 3), or_dash(r.work.bytes / us * 1e-3, 1),
                        or_dash(100 * r.floor_us / us, 1), or_dash(over_peer[i], 2), error_text(r.max_error),
                        error_text(r.norm_error));
  }
  return text;
}

ResultFiles::ResultFiles(std::string stem, DeviceFacts facts, std::string command)
    : stem_(std::move(stem)), command_(std::move(command)), facts_(std::move(facts)) {
  const auto folder = std::filesystem::path(stem_).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder);
  write();
}

void ResultFiles::add(const std::vector<Row>& rows) {
  double fastest_peer = 0;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const double us = rows[i].timing.median_us;
    if (i == 1 || us < fastest_peer) fastest_peer = us;
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows_.push_back(rows[i]);
    over_peer_.push_back(i == 0 ? fastest_peer / rows[i].timing.median_us : 0.0);
  }
  write();
}

void ResultFiles::write() const {
  replace_file(
      stem_ + ".md",
      fmt::format("# {}\n\n{}, {} CPU cores, commit {}, {}\n", std::filesystem::path(stem_).filename().string(),
                  facts_.device, facts_.cores, facts_.commit, facts_.date) +
          (facts_.driver.empty() ? ""
                                 : fmt::format("\nDriver {}; clocks, limit of the SM clock, temperature, "
                                               "power limit: {}\n",
                                               facts_.driver, facts_.clocks)) +
          fmt::format("\n`{}`\n\n", command_) + table(rows_, over_peer_));
  nlohmann::json rows = nlohmann::json::array();
  for (const Row& r : rows_)
    rows.push_back({{"benchmark", r.benchmark},
                    {"shape", r.shape},
                    {"tokens", r.tokens},
                    {"routing", r.routing},
                    {"dtype", r.dtype},
                    {"contender", r.contender},
                    {"median_us", r.timing.median_us},
                    {"p10_us", r.timing.p10_us},
                    {"p90_us", r.timing.p90_us},
                    {"flops", r.work.flops},
                    {"bytes", r.work.bytes},
                    {"floor_us", r.floor_us},
                    {"max_error", r.max_error},
                    {"norm_error", r.norm_error}});
  const nlohmann::json all = {{"facts",
                               {{"device", facts_.device},
                                {"driver", facts_.driver},
                                {"clocks", facts_.clocks},
                                {"cores", facts_.cores},
                                {"commit", facts_.commit},
                                {"date", facts_.date},
                                {"command", command_}}},
                              {"rows", rows}};
  replace_file(stem_ + ".json", all.dump(1) + "\n");
}

}  // namespace sy::bench
