// StepTrace: in which order a rank computes, starts collectives and waits for them, and how much work each of these is:
// what the proof that communication is hidden needs, and a replay with modelled durations (trainer/step_replay.h).
// Recorded where ctx.trace is set; costs a null check otherwise.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/work.h"

namespace sy {

// A collective as this rank sees it.
struct Transfer {
  std::string what;       // "gradients", "parameters", "rows", "activations" ...
  std::string group;      // the name of the communicator (parallel/mesh.h)
  int64_t ranks = 1;      // in the group
  int64_t bytes = 0;      // that leave this rank
  int64_t exchanges = 1;  // one after the other: a sum for all ranks is a reduction of shares, then their gathering
  bool operator==(const Transfer&) const = default;
};

struct StepEvent {
  enum class Kind : uint8_t { kCompute, kStart, kWait };
  Kind kind;
  std::string what;      // the kernel, or what travels
  int64_t number = 0;    // of the transfer among those of what travels (a bucket's own); pairs a wait with its start
  kernels::Work work{};  // of a kernel
  Transfer transfer{};   // of a start
  bool operator==(const StepEvent&) const = default;
};

class StepTrace {
 public:
  void compute(const char* kernel, const kernels::Work& work) {
    events_.push_back({.kind = StepEvent::Kind::kCompute, .what = kernel, .work = work});
  }
  void start(const Transfer& transfer, int64_t number) {
    events_.push_back({.kind = StepEvent::Kind::kStart, .what = transfer.what, .number = number, .transfer = transfer});
  }
  void wait(const std::string& what, int64_t number) {
    events_.push_back({.kind = StepEvent::Kind::kWait, .what = what, .number = number});
  }
  int64_t next_number(const std::string& what) { return ++last_number_[what]; }
  const std::vector<StepEvent>& events() const { return events_; }

 private:
  std::vector<StepEvent> events_;
  std::map<std::string, int64_t> last_number_;
};

}  // namespace sy
