// Watchdog: says which collective is stuck and who is missing from it, and ends the job when it stays so.
//
// Nobody but the main thread talks to MPI, so the watchdog lives in the loops that wait: a rank that waits polls, and
// every now and then looks at the clock and at its notices. The protocol, per stuck collective:
//   1. A rank that has waited nearly report_after_s asks the others of the group. Whoever waits (anywhere) answers how
//      far it has come in that group and what it waits for; a rank asked about the very collective it waits in asks
//      too.
//   2. A moment later those without an answer, and those that have not come so far, are the missing ones. The lowest
//      rank that waits in this collective says so in one line, and tells the others that it was said.
//   3. If the collective goes on after all, the same rank says that too (a straggler). After abort_after_s it ends the
//      job; another rank does if that one has left.
// Meanwhile a few atomics say what this process waits for: a thread that must end the process reads them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "parallel/comm.h"

namespace sy {

// A group of ranks as reports see it. Lives as long as the watchdog.
struct WatchedGroup {
  std::string name;
  uint64_t id = 0;         // equal on all members, of no other group
  std::vector<int> ranks;  // their numbers in the job
  int64_t started = 0;     // number of the last collective that this rank has begun, from 1
};

// What ranks tell each other about a collective, as bytes.
struct Notice {
  enum class Type : int32_t { kQuestion, kAnswer, kReported };
  Type type = Type::kQuestion;
  int32_t sender = 0;  // number in the job
  uint64_t group = 0;  // the collective asked about
  int64_t number = 0;
  int64_t started = 0;  // the last collective of that group that the sender has begun
  // What the sender waits for.
  uint64_t waits_in = 0;
  int64_t waits_number = 0;
  double waited_s = 0;
  CommKind waits_kind = CommKind::kBarrier;
  char waits_name[20] = {};
};

class Watchdog {
 public:
  // What the watchdog needs of the world around it.
  class World {
   public:
    virtual ~World() = default;
    virtual double now() = 0;                               // seconds on a steady clock
    virtual void send(int rank, const Notice& notice) = 0;  // does not wait for the receiver
    virtual bool receive(Notice& notice) = 0;               // false: there is none
    virtual void say(const std::string& line) = 0;
    virtual void abort() = 0;  // of the whole job
  };

  // One wait of this process, for as long as it lasts; there is one at a time.
  class Wait {
   public:
    Wait(Watchdog& watchdog, const WatchedGroup& group, CommKind kind, int64_t number);
    ~Wait();
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    // After each look at the collective that found it incomplete.
    void poll() {
      if (++polls_ % kPollsPerLook == 0) watchdog_.look(*this);
    }
    // The collective is complete.
    void finished();

   private:
    friend class Watchdog;
    enum class Reported { kNo, kByThis, kByAnother };
    Watchdog& watchdog_;
    const WatchedGroup& group_;
    CommKind kind_;
    int64_t number_;
    uint32_t polls_ = 0;
    double begin_ = -1;  // of the longest wait in this collective that is known; -1: the clock was not read yet
    double looked_at_ = -1;
    double asked_at_ = -1;
    bool asked_last_time_ = false;  // the question just before the end
    Reported reported_ = Reported::kNo;
    std::map<int, Notice> answers_;
    std::vector<int> missing_;
  };
  // A poll takes about half a microsecond, or tens of milliseconds on a core shared with ranks that compute.
  static constexpr uint32_t kPollsPerLook = 32;

  // `rank` of the job. `place` and `world` live longer.
  Watchdog(int rank, const CommPlace& place, World& world) : rank_(rank), place_(place), world_(world) {}
  void configure(double report_after_s, double abort_after_s);
  WatchedGroup& add_group(std::string name, uint64_t id, std::vector<int> ranks);
  // See Comm::describe_wait.
  std::size_t describe_wait(std::span<char> text) const;

 private:
  static constexpr int kMaxNamed = 4;  // missing ranks named in a line; of the others, the number
  // What another thread may read while this one waits.
  struct Record {
    std::atomic<const WatchedGroup*> group{nullptr};  // null: not waiting
    std::atomic<CommKind> kind{CommKind::kBarrier};
    std::atomic<int64_t> number{0};
    std::atomic<bool> is_said{false};  // by another rank, or by this one for the last time
    std::atomic<int> num_missing{-1};  // -1: not known
    std::array<std::atomic<int>, kMaxNamed> missing{};
  };

  void look(Wait& wait);
  void read_notices(Wait& wait, double now);
  void ask(Wait& wait, double now);
  Notice notice_about(Notice::Type type, const WatchedGroup& group, int64_t number, const Wait& wait, double now) const;
  void tell_group(const WatchedGroup& group, const Notice& notice);
  void find_missing(Wait& wait);
  bool is_lowest_waiting(const Wait& wait) const;
  void say_stuck(const Wait& wait, double now, const std::string& end);
  std::string missing_text(const Wait& wait) const;

  int rank_;
  const CommPlace& place_;
  World& world_;
  double report_after_s_ = 60, abort_after_s_ = 1800, answer_time_s_ = 1;
  std::deque<WatchedGroup> groups_;  // never moved, never dropped: another thread may be reading one
  Record record_;
};

}  // namespace sy
