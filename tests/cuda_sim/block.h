// What the executor offers the simulated units of a block (mbarriers, copies, matrix products), and what it asks of
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/cuda_sim/executor.h"

namespace sy::cuda_sim {

[[noreturn]] inline void fault(const std::string& message) { throw Fault("simulated CUDA: " + message); }

// What a thread waits for: two callables that live until the wait is over. Refers to them, because a thread that a
// fault leaves behind is never unwound, so that it may own nothing. `describe` completes "thread ... waits for" in the
// report of a deadlock.
class Condition {
 public:
  template <class Holds, class Describe>
  Condition(const Holds& holds, const Describe& describe)
      : holds_(&holds),
        describe_(&describe),
        call_holds_([](const void* f) -> bool { return (*static_cast<const Holds*>(f))(); }),
        call_describe_([](const void* f) -> std::string { return (*static_cast<const Describe*>(f))(); }) {}
  bool holds() const { return call_holds_(holds_); }
  std::string describe() const { return call_describe_(describe_); }

 private:
  const void *holds_, *describe_;
  bool (*call_holds_)(const void*);
  std::string (*call_describe_)(const void*);
};

// Suspends the running thread until the condition holds.
void wait_until(const Condition& condition);

int thread_rank();  // of the running thread in its block
int num_threads();  // of the block
std::string describe_thread(int rank);

// Called by the executor around every block, and once per round over its threads. advance_units completes asynchronous
// work and returns whether it did; where no thread can go on it must complete some if there is any.
void begin_units(unsigned char* shared, size_t shared_bytes, uint64_t seed);
bool advance_units(bool no_thread_can_go_on);
void end_units();

}  // namespace sy::cuda_sim
