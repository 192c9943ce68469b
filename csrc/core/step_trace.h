// StepTrace: in which order a rank computes, starts collectives and waits for them: what the proof that communication
// is hidden needs. Recorded where ctx.trace is set; costs a null check otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sy {

struct StepEvent {
  enum class Kind : uint8_t { kCompute, kStart, kWait };
  Kind kind;
  std::string what;    // the kernel, or what travels: "gradients", "parameters", "rows"
  int64_t number = 0;  // of the transfer (a bucket, a movement of rows); pairs a wait with its start
};

class StepTrace {
 public:
  void compute(const char* kernel) { events_.push_back({StepEvent::Kind::kCompute, kernel, 0}); }
  void start(const char* what, int64_t number) { events_.push_back({StepEvent::Kind::kStart, what, number}); }
  void wait(const char* what, int64_t number) { events_.push_back({StepEvent::Kind::kWait, what, number}); }
  int64_t next_number() { return ++last_number_; }
  const std::vector<StepEvent>& events() const { return events_; }
  void clear() { events_.clear(); }

 private:
  std::vector<StepEvent> events_;
  int64_t last_number_ = 0;
};

}  // namespace sy
