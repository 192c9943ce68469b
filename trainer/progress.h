// Progress of a long task: one bar line that is redrawn on a terminal, plain lines elsewhere, nothing on ranks above 0.
//   train  [#####---------------]  25%  step 250/1000  8.4/s  elapsed 00:30  left 01:29  loss 2.3141
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace sy {

// "07:05", "1:02:03" or "2d 03:04:05"; rounded down; "--:--" for negative or non-finite seconds.
std::string format_duration(double seconds);
// "512 B", "1.5 kB", "20.0 MB": powers of 1000.
std::string format_bytes(double bytes);

struct ProgressOptions {
  enum class Style { kBar, kLines, kSilent };
  enum class Unit { kSteps, kBytes };

  std::string label;  // "train", "tokenize"
  int64_t total = 0;  // units at the end; 0 if unknown: no percent, no time left
  Unit unit = Unit::kSteps;
  Style style = Style::kLines;
  // Lines style: prints when `done` reaches a multiple of line_interval, or, if that is 0, every line_seconds.
  int64_t line_interval = 0;
  double line_seconds = 10;
  int width = 100;                                    // of the terminal, in columns
  std::function<void(std::string_view)> output = {};  // default: standard error
  std::function<double()> clock = {};                 // seconds; default: a steady clock
};

// kSilent on ranks above 0, kBar if standard error is a terminal, or that of the mpirun that started this process is
// (and TERM is not "dumb"), else kLines.
ProgressOptions::Style default_progress_style(int rank);
// Columns of that terminal, 100 if there is none.
int terminal_width();

class Progress {
 public:
  // `done` units are behind us already (a resumed run); the rate counts from here.
  explicit Progress(ProgressOptions options, int64_t done = 0);
  // Ends the bar line if finish() was not called (an error is being reported below it).
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` counts from the task's beginning. `status` is the caller's, e.g. "loss 2.3141". Cheap: a bar is redrawn at
  // most ten times per second.
  void update(int64_t done, std::string_view status = {});
  // A line of its own: above the bar, or just printed.
  void message(std::string_view line);
  // Prints the final state, however recent the last output.
  void finish(std::string_view status = {});

 private:
  std::string line(std::string_view status, double now) const;
  double rate(double now) const;
  void draw(std::string_view status, double now);
  void print(std::string_view text) const;

  ProgressOptions options_;
  double start_time_ = 0;
  int64_t done_ = 0;
  double last_output_;
  int64_t last_printed_done_;
  bool is_bar_open_ = false;
  std::string last_status_;
  std::deque<std::pair<double, int64_t>> samples_;  // (time, done) over the rate window, oldest first
};

}  // namespace sy
