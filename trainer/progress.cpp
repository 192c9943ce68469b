#include "trainer/progress.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace sy {
namespace {

constexpr double kRedrawSeconds = 0.1;
// The rate is that of the last half minute: long enough to be calm, short enough to follow a change.
constexpr double kRateWindowSeconds = 30;
constexpr int kBarColumns = 20;
constexpr const char* kClearLine = "\r\x1b[K";

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return "--:--";
  const auto total = static_cast<int64_t>(seconds);
  const int64_t days = total / 86400;
  const int64_t hours = total / 3600 % 24;
  const int64_t minutes = total / 60 % 60;
  if (days > 0) return fmt::format("{}d {:02}:{:02}:{:02}", days, hours, minutes, total % 60);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{:02}:{:02}", minutes, total % 60);
}

std::string format_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int unit = 0;
  // 999.95 would print as 1000.0.
  while (bytes >= (unit == 0 ? 1000 : 999.95) && unit < 5) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

namespace {

// The terminal that standard error reaches: itself, or through mpirun, which forwards it. -1 if there is none; the
// descriptor stays open.
int terminal_descriptor() {
  static const int descriptor = [] {
    if (::isatty(STDERR_FILENO) == 1) return STDERR_FILENO;
    if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return -1;
    const int launcher = ::open(fmt::format("/proc/{}/fd/{}", ::getppid(), STDERR_FILENO).c_str(),
                                O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (launcher < 0 || ::isatty(launcher) == 1) return launcher;
    ::close(launcher);
    return -1;
  }();
  return descriptor;
}

}  // namespace

ProgressOptions::Style default_progress_style(int rank) {
  if (rank > 0) return ProgressOptions::Style::kSilent;
  const char* term = std::getenv("TERM");
  const bool is_capable = term == nullptr || std::string_view(term) != "dumb";
  return terminal_descriptor() >= 0 && is_capable ? ProgressOptions::Style::kBar : ProgressOptions::Style::kLines;
}

int terminal_width() {
  winsize size{};
  const int terminal = terminal_descriptor();
  return terminal >= 0 && ::ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

Progress::Progress(ProgressOptions options, int64_t done)
    : options_(std::move(options)), done_(done), last_printed_done_(done) {
  if (!options_.output) {
    options_.output = [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stderr);
      std::fflush(stderr);
    };
  }
  if (!options_.clock) {
    options_.clock = [] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
  }
  start_time_ = options_.clock();
  samples_.emplace_back(start_time_, done);
  // A bar shows at once; the first line comes an interval later.
  last_output_ =
      options_.style == ProgressOptions::Style::kBar ? -std::numeric_limits<double>::infinity() : start_time_;
}

Progress::~Progress() {
  if (!is_bar_open_) return;
  try {
    print("\n");
  } catch (...) {  // a destructor must not throw; a missing line end is no loss
  }
}

void Progress::print(std::string_view text) const { options_.output(text); }

double Progress::rate(double now) const {
  const auto& [time, done] = samples_.front();
  return now > time ? static_cast<double>(done_ - done) / (now - time) : 0;
}

std::string Progress::line(std::string_view status, double now) const {
  const auto amount = [&](double units) {
    return options_.unit == ProgressOptions::Unit::kBytes ? format_bytes(units) : fmt::format("{:.0f}", units);
  };
  const double per_second = rate(now);
  const double total = static_cast<double>(options_.total);
  const double done = static_cast<double>(done_);
  std::string text = options_.label;
  if (options_.total > 0) {
    const double part = std::clamp(done / total, 0.0, 1.0);
    if (options_.style == ProgressOptions::Style::kBar) {
      const int filled = static_cast<int>(part * kBarColumns);
      text += fmt::format("  [{:#<{}}{:-<{}}]", "", filled, "", kBarColumns - filled);
    }
    // Rounded down: 100% means finished.
    text += fmt::format("  {:3}%", static_cast<int>(part * 100));
  }
  text += options_.unit == ProgressOptions::Unit::kSteps ? "  step " : "  ";
  text += amount(done);
  if (options_.total > 0) text += fmt::format("/{}", amount(total));
  if (options_.unit == ProgressOptions::Unit::kBytes) {
    text += fmt::format("  {}/s", format_bytes(per_second));
  } else {
    // Slow steps read better as seconds per step.
    text += per_second > 0 && per_second < 1 ? fmt::format("  {:.2f} s/step", 1 / per_second)
                                             : fmt::format("  {:.1f}/s", per_second);
  }
  text += fmt::format("  elapsed {}", format_duration(now - start_time_));
  if (options_.total > 0) {
    text += fmt::format("  left {}", format_duration(per_second > 0 ? std::max(0.0, total - done) / per_second : -1));
  }
  if (!status.empty()) text += fmt::format("  {}", status);
  return text;
}

void Progress::draw(std::string_view status, double now) {
  std::string text = line(status, now);
  if (options_.style == ProgressOptions::Style::kBar) {
    // A line that wraps could not be redrawn; the last column stays free, since some terminals wrap on filling it.
    const auto columns = static_cast<size_t>(std::max(options_.width - 1, 1));
    if (text.size() > columns) text.resize(columns);
    print(kClearLine + text);
    is_bar_open_ = true;
  } else {
    print(text + "\n");
  }
  last_output_ = now;
  last_printed_done_ = done_;
}

void Progress::update(int64_t done, std::string_view status) {
  if (options_.style == ProgressOptions::Style::kSilent) return;
  const double now = options_.clock();
  const int64_t before = done_;
  done_ = done;
  last_status_ = status;
  // A hundred samples per window are enough; updates may come a million times per second.
  if (now - samples_.back().first >= kRateWindowSeconds / 100) samples_.emplace_back(now, done);
  while (samples_.size() > 1 && now - samples_[1].first > kRateWindowSeconds) samples_.pop_front();
  bool is_due = false;
  if (options_.style == ProgressOptions::Style::kBar) {
    is_due = now - last_output_ >= kRedrawSeconds;
  } else if (options_.line_interval > 0) {
    is_due = done / options_.line_interval > before / options_.line_interval;
  } else {
    is_due = now - last_output_ >= options_.line_seconds;
  }
  if (is_due) draw(status, now);
}

void Progress::message(std::string_view line) {
  if (options_.style == ProgressOptions::Style::kSilent) return;
  if (is_bar_open_) print(kClearLine);
  print(std::string(line) + "\n");
  if (std::exchange(is_bar_open_, false)) draw(last_status_, options_.clock());
}

void Progress::finish(std::string_view status) {
  if (options_.style == ProgressOptions::Style::kSilent) return;
  const bool is_bar = options_.style == ProgressOptions::Style::kBar;
  if (!status.empty()) last_status_ = status;
  // In lines style the last update may just have said the same.
  if (is_bar || !status.empty() || last_printed_done_ != done_) draw(last_status_, options_.clock());
  if (is_bar_open_) print("\n");
  is_bar_open_ = false;
}

}  // namespace sy
