#include "trainer/metrics.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "csrc/core/check.h"

namespace fs = std::filesystem;

namespace sy {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const MetricValue& value) {
  if (const auto* number = std::get_if<double>(&value)) {
    if (std::isnan(*number)) return "nan";
    if (std::isinf(*number)) return *number > 0 ? "inf" : "-inf";
    return *number;
  }
  if (const auto* integer = std::get_if<int64_t>(&value)) return *integer;
  return std::get<std::string>(value);
}

Json to_json(const Metrics& metrics) {
  Json json = Json::object();
  for (const auto& [key, value] : metrics) json[key] = to_json(value);
  return json;
}

// Texts of the user's (paths, names) may hold any bytes: those outside UTF-8 are replaced.
std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

std::optional<int64_t> step_of_line(std::string_view line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  const auto step = json.find("step");
  if (step == json.end() || !step->is_number_integer()) return std::nullopt;
  return step->get<int64_t>();
}

// Length of the leading lines that are whole and of steps up to last_step. What follows must be later steps or the
// remains of an interrupted write; anything else is not ours to delete.
size_t kept_bytes(std::string_view text, int64_t last_step, const std::string& path) {
  size_t kept = 0;
  bool is_cut = false;
  int64_t line_number = 0;
  int64_t bad_line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const bool is_whole = newline != std::string_view::npos;
    const size_t end = is_whole ? newline + 1 : text.size();
    ++line_number;
    const auto step = step_of_line(text.substr(begin, end - begin));
    if (step && bad_line > 0) user_error("'{}': line {} is not a line of metrics", path, bad_line);
    if (!step && bad_line == 0) bad_line = line_number;
    is_cut = is_cut || !is_whole || !step || *step > last_step;
    if (!is_cut) kept = end;
    begin = end;
  }
  if (bad_line == 1 && line_number > 1) user_error("'{}' is not a file of metrics", path);
  return kept;
}

}  // namespace

std::string metrics_line(const Metrics& metrics) { return dump(to_json(metrics), -1); }

std::string summary_exit_reason(const std::string& run_folder) {
  const std::string path = (fs::path(run_folder) / "summary.json").string();
  std::error_code error;
  if (!fs::exists(path, error)) return "";
  const Json json = Json::parse(read_text_file(path), nullptr, /*allow_exceptions=*/false);
  const auto reason = json.is_object() ? json.find("exit_reason") : json.end();
  return reason != json.end() && reason->is_string() ? reason->get<std::string>() : "";
}

MetricsWriter::MetricsWriter(std::string run_folder, int64_t last_step, bool with_tensorboard)
    : run_folder_(std::move(run_folder)), last_step_(last_step) {
  create_directories(run_folder_);
  const std::string path = (fs::path(run_folder_) / "metrics.jsonl").string();
  std::error_code error;
  if (fs::exists(path, error)) {
    const std::string text = read_text_file(path);
    const size_t kept = kept_bytes(text, last_step, path);
    if (kept != text.size()) fs::resize_file(path, kept, error);
    if (error) file_error("shorten", path, error.value());
  }
  lines_ = std::make_unique<OutputFile>(path, OutputFile::Mode::kAppend);
  if (with_tensorboard)
    events_ = std::make_unique<EventWriter>((fs::path(run_folder_) / "tensorboard").string(), last_step);
}

void MetricsWriter::log(int64_t step, const Metrics& metrics) {
  SY_CHECK(step >= last_step_, "metrics of step {} after those of step {}", step, last_step_);
  last_step_ = step;
  Metrics line = {{"step", step}};
  line.insert(line.end(), metrics.begin(), metrics.end());
  const std::string text = metrics_line(line) + "\n";
  lines_->append(text.data(), static_cast<int64_t>(text.size()));
  if (events_ == nullptr) return;
  for (const auto& [key, value] : metrics) {
    if (const auto* number = std::get_if<double>(&value)) events_->scalar(key, *number, step);
    if (const auto* integer = std::get_if<int64_t>(&value)) events_->scalar(key, static_cast<double>(*integer), step);
  }
}

void MetricsWriter::log_text(const std::string& tag, std::string_view text) {
  if (events_ != nullptr) events_->text(tag, text, std::max<int64_t>(last_step_, 0));
}

void MetricsWriter::write_summary(const Metrics& metrics) const {
  write_file_atomically((fs::path(run_folder_) / "summary.json").string(), dump(to_json(metrics), 2) + "\n");
}

}  // namespace sy
