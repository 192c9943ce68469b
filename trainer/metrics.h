// Metrics of a run: metrics.jsonl (one json object per logged step), TensorBoard scalars, summary.json.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "csrc/io/file.h"
#include "csrc/io/tensorboard.h"

namespace sy {

using MetricValue = std::variant<int64_t, double, std::string>;
// Flat keys in the order they shall be printed; '/' groups them in TensorBoard ("moe/layer_2/max_vio").
using Metrics = std::vector<std::pair<std::string, MetricValue>>;

// One line of json, e.g. {"step":10,"loss":2.5}. Doubles round-trip; nan and infinities, which json lacks, become the
// strings "nan", "inf" and "-inf".
std::string metrics_line(const Metrics& metrics);

// "exit_reason" of the summary.json in a run folder, "" if there is no readable one.
std::string summary_exit_reason(const std::string& run_folder);

// Only rank 0 owns one. A killed process loses no logged line, since each is one write.
class MetricsWriter {
 public:
  // Opens <run_folder>/metrics.jsonl for appending and, unless told not to, starts a file in <run_folder>/tensorboard.
  // Lines of steps after
  // last_step (the step of the checkpoint that the run goes on from; -1 for a run from the beginning) and a
  // half-written last line are cut off, since those steps will be logged again. UserError if the file is not a metrics
  // file.
  explicit MetricsWriter(std::string run_folder, int64_t last_step = -1, bool with_tensorboard = true);

  // Appends {"step": step, <metrics>}; numbers also go to TensorBoard. Steps never decrease.
  void log(int64_t step, const Metrics& metrics);
  // A text shown in TensorBoard, e.g. the configuration.
  void log_text(const std::string& tag, std::string_view text);
  // Replaces summary.json atomically.
  void write_summary(const Metrics& metrics) const;

 private:
  std::string run_folder_;
  int64_t last_step_;
  std::unique_ptr<OutputFile> lines_;
  std::unique_ptr<EventWriter> events_;  // null without TensorBoard
};

}  // namespace sy
