#include "parallel/watchdog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace sy {

namespace {

// Shorter waits are left alone: no notice is looked for.
constexpr double kQuietSeconds = 0.05;
// Looks are this far apart only when this process itself was stopped (Ctrl-Z, a debugger, a suspended job).
constexpr double kStoppedSeconds = 5;

// Text written into memory that is there already, and no further.
struct Line {
  std::span<char> memory;
  std::size_t length = 0;
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    const std::size_t left = memory.size() - length;
    length += std::min(left, fmt::format_to_n(memory.data() + length, left, format, std::forward<Args>(args)...).size);
  }
};

// "all_to_all number 12 of group 'ep', layer 2, step 17"
void add_place(Line& line, CommKind kind, int64_t number, const std::string& group, const CommPlace& place) {
  line.add("{} number {} of group '{}'", comm_kind_name(kind), number, group);
  const int64_t layer = place.layer, step = place.step;
  if (layer >= 0) line.add(", layer {}", layer);
  if (step > 0) line.add(", step {}", step);
}

std::string place_text(CommKind kind, int64_t number, const std::string& group, const CommPlace& place) {
  char memory[256];
  Line line{memory};
  add_place(line, kind, number, group, place);
  return std::string(memory, line.length);
}

// "rank 2 (text of 2), rank 5 (text of 5) and 3 more"
template <class TextOf>
std::string rank_list(const std::vector<int>& ranks, int most, TextOf&& text_of) {
  std::string list;
  const std::size_t named = std::min(ranks.size(), static_cast<std::size_t>(most));
  for (std::size_t i = 0; i < named; ++i)
    list += fmt::format("{}rank {}{}", i == 0 ? "" : ", ", ranks[i], text_of(ranks[i]));
  if (ranks.size() > named) list += fmt::format(" and {} more", ranks.size() - named);
  return list;
}

}  // namespace

void Watchdog::configure(double report_after_s, double abort_after_s) {
  report_after_s_ = report_after_s;
  abort_after_s_ = abort_after_s;
  answer_time_s_ = std::min(1.0, report_after_s / 4);
}

WatchedGroup& Watchdog::add_group(std::string name, uint64_t id, std::vector<int> ranks) {
  return groups_.emplace_back(WatchedGroup{std::move(name), id, std::move(ranks)});
}

Watchdog::Wait::Wait(Watchdog& watchdog, const WatchedGroup& group, CommKind kind, int64_t number)
    : watchdog_(watchdog), group_(group), kind_(kind), number_(number) {
  Record& record = watchdog_.record_;
  record.kind.store(kind, std::memory_order_relaxed);
  record.number.store(number, std::memory_order_relaxed);
  record.is_said.store(false, std::memory_order_relaxed);
  record.num_missing.store(-1, std::memory_order_relaxed);
  record.group.store(&group, std::memory_order_release);
}

Watchdog::Wait::~Wait() { watchdog_.record_.group.store(nullptr, std::memory_order_release); }

void Watchdog::Wait::finished() {
  if (reported_ != Reported::kByThis) return;
  // Those that waited elsewhere did so for the others.
  std::vector<int> late;
  for (const int rank : missing_)
    if (!answers_.contains(rank)) late.push_back(rank);
  if (late.empty()) late = missing_;
  const std::string who = late.empty() ? std::string("the network is slow")
                                       : rank_list(late, kMaxNamed, [](int) { return ""; }) +
                                             (late.size() == 1 ? " is a straggler" : " are stragglers");
  watchdog_.world_.say(fmt::format("switchyard: {} went on after {:.1f} s; {}",
                                   place_text(kind_, number_, group_.name, watchdog_.place_),
                                   watchdog_.world_.now() - begin_, who));
}

void Watchdog::look(Wait& wait) {
  const double now = world_.now();
  if (wait.begin_ < 0) wait.begin_ = wait.looked_at_ = now;
  const double gap = now - std::exchange(wait.looked_at_, now);
  if (gap > kStoppedSeconds) {
    // Time in which this rank did not wait tells nothing about the others, who may have been stopped with it.
    wait.begin_ += gap;
    if (wait.asked_at_ >= 0) wait.asked_at_ += gap;
  }
  if (now - wait.begin_ < kQuietSeconds) return;
  read_notices(wait, now);
  const double waited = now - wait.begin_;
  if (wait.asked_at_ < 0 && waited >= report_after_s_ - answer_time_s_) ask(wait, now);
  if (wait.asked_at_ < 0) return;
  const double since_asked = now - wait.asked_at_;
  if (wait.reported_ == Wait::Reported::kNo && since_asked >= answer_time_s_) {
    find_missing(wait);
    // The lowest may have been stopped since it answered.
    if (is_lowest_waiting(wait) || since_asked >= 3 * answer_time_s_) {
      wait.reported_ = Wait::Reported::kByThis;
      tell_group(wait.group_, notice_about(Notice::Type::kReported, wait.group_, wait.number_, wait, now));
      say_stuck(wait, now, fmt::format("; the job ends after {:g} s", abort_after_s_));
    }
  }
  // Who is missing may have changed since the report.
  if (!wait.asked_last_time_ && waited >= abort_after_s_ - answer_time_s_) {
    wait.asked_last_time_ = true;
    wait.answers_.clear();
    ask(wait, now);
  }
  const double grace = wait.reported_ == Wait::Reported::kByThis ? 0 : 3 * answer_time_s_;
  if (waited >= abort_after_s_ + grace) {
    find_missing(wait);
    say_stuck(wait, now, "; the job ends");
    record_.is_said.store(true, std::memory_order_relaxed);
    world_.abort();
  }
}

void Watchdog::ask(Wait& wait, double now) {
  wait.asked_at_ = now;
  tell_group(wait.group_, notice_about(Notice::Type::kQuestion, wait.group_, wait.number_, wait, now));
}

void Watchdog::read_notices(Wait& wait, double now) {
  Notice notice;
  while (world_.receive(notice)) {
    const bool is_about_this = notice.group == wait.group_.id && notice.number == wait.number_;
    switch (notice.type) {
      case Notice::Type::kQuestion: {
        const auto group =
            std::find_if(groups_.begin(), groups_.end(), [&](const WatchedGroup& g) { return g.id == notice.group; });
        if (group == groups_.end()) break;
        if (is_about_this) {
          // It has waited nearly report_after_s then, so this rank asks now as well.
          wait.begin_ = std::min(wait.begin_, now - notice.waited_s);
          wait.answers_[notice.sender] = notice;
        }
        world_.send(notice.sender, notice_about(Notice::Type::kAnswer, *group, notice.number, wait, now));
        break;
      }
      case Notice::Type::kAnswer:
        if (is_about_this) wait.answers_[notice.sender] = notice;
        break;
      case Notice::Type::kReported:
        if (!is_about_this || wait.reported_ == Wait::Reported::kByThis) break;
        wait.reported_ = Wait::Reported::kByAnother;
        record_.is_said.store(true, std::memory_order_relaxed);
        break;
    }
  }
}

Notice Watchdog::notice_about(Notice::Type type, const WatchedGroup& group, int64_t number, const Wait& wait,
                              double now) const {
  Notice notice{.type = type,
                .sender = rank_,
                .group = group.id,
                .number = number,
                .started = group.started,
                .waits_in = wait.group_.id,
                .waits_number = wait.number_,
                .waited_s = now - wait.begin_,
                .waits_kind = wait.kind_};
  std::memcpy(notice.waits_name, wait.group_.name.data(),
              std::min(wait.group_.name.size(), sizeof(notice.waits_name) - 1));
  return notice;
}

void Watchdog::tell_group(const WatchedGroup& group, const Notice& notice) {
  for (const int rank : group.ranks)
    if (rank != rank_) world_.send(rank, notice);
}

void Watchdog::find_missing(Wait& wait) {
  // Ranks that gave no answer come first: those that wait elsewhere are often waiting for them.
  wait.missing_.clear();
  for (const bool answered : {false, true})
    for (const int rank : wait.group_.ranks) {
      const auto answer = wait.answers_.find(rank);
      if (rank == rank_ || (answer != wait.answers_.end()) != answered) continue;
      if (!answered || answer->second.started < wait.number_) wait.missing_.push_back(rank);
    }
  for (std::size_t i = 0; i < wait.missing_.size() && i < record_.missing.size(); ++i)
    record_.missing[i].store(wait.missing_[i], std::memory_order_relaxed);
  record_.num_missing.store(static_cast<int>(wait.missing_.size()), std::memory_order_release);
}

bool Watchdog::is_lowest_waiting(const Wait& wait) const {
  return std::none_of(wait.answers_.begin(), wait.answers_.end(), [&](const auto& answer) {
    const Notice& notice = answer.second;
    return notice.sender < rank_ && notice.waits_in == wait.group_.id && notice.waits_number == wait.number_;
  });
}

std::string Watchdog::missing_text(const Wait& wait) const {
  if (wait.missing_.empty()) return "; all ranks have arrived, their data has not";
  return "; not arrived: " + rank_list(wait.missing_, kMaxNamed, [&](int rank) -> std::string {
           const auto answer = wait.answers_.find(rank);
           if (answer == wait.answers_.end()) return "";
           const Notice& notice = answer->second;
           return fmt::format(" (waits in {} number {} of group '{}')", comm_kind_name(notice.waits_kind),
                              notice.waits_number, notice.waits_name);
         });
}

void Watchdog::say_stuck(const Wait& wait, double now, const std::string& end) {
  world_.say(fmt::format("switchyard: rank {} has waited {:.1f} s in {}{}{}", rank_, now - wait.begin_,
                         place_text(wait.kind_, wait.number_, wait.group_.name, place_), missing_text(wait), end));
}

std::size_t Watchdog::describe_wait(std::span<char> text) const {
  const WatchedGroup* group = record_.group.load(std::memory_order_acquire);
  if (group == nullptr || record_.is_said.load(std::memory_order_relaxed)) return 0;
  Line line{text};
  line.add("rank {} was waiting in ", rank_);
  add_place(line, record_.kind.load(std::memory_order_relaxed), record_.number.load(std::memory_order_relaxed),
            group->name, place_);
  const int num_missing = record_.num_missing.load(std::memory_order_acquire);
  for (int i = 0; i < std::min(num_missing, kMaxNamed); ++i)
    line.add("{}rank {}", i == 0 ? "; not arrived: " : ", ",
             record_.missing[static_cast<std::size_t>(i)].load(std::memory_order_relaxed));
  if (num_missing > kMaxNamed) line.add(" and {} more", num_missing - kMaxNamed);
  return line.length;
}

}  // namespace sy
