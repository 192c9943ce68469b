#include "tests/cuda_sim/streams.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cuda_sim/executor.h"

namespace sy::cuda_sim {

struct Operation {
  uint64_t ticket;  // numbers all operations of the process in the order of their enqueue
  const char* what;
  std::function<bool()> advance;
  std::shared_ptr<const Record> after;  // must be done first
  std::shared_ptr<Record> completes;
};

}  // namespace sy::cuda_sim

struct CUstream_st {
  bool is_blocking = true;
  std::deque<sy::cuda_sim::Operation> pending;
  uint64_t newest = 0;  // ticket of the last operation, 0 once the host has seen that it is complete
};

namespace sy::cuda_sim {
namespace {

constexpr uint64_t kEager = 0, kLazy = 1;
constexpr auto kSilentWait = std::chrono::seconds(30);

thread_local bool in_operation = false;
thread_local int keep_faults = 0;

void report_lost_fault();

class Scheduler {
 public:
  Scheduler() {
    const char* text = std::getenv("SY_SIM_SEED");
    if (text != nullptr) seed(std::stoull(text));
  }

  void seed(uint64_t value) {
    const std::lock_guard lock(mutex_);
    seed_ = value;
    random_.seed(value);
    eighths_ = 1 + value % 6;
  }
  uint64_t seed() const { return seed_; }

  CUstream_st* resolve(cudaStream_t handle) {
    if (handle == nullptr || handle == cudaStreamLegacy) return &legacy_;
    const auto found = std::find(streams_.begin(), streams_.end(), handle);
    return found == streams_.end() ? nullptr : *found;
  }

  void enqueue(cudaStream_t handle, Operation operation);
  Point now(cudaStream_t handle) {
    const std::lock_guard lock(mutex_);
    return {.stream = live(handle), .ticket = last_ticket_};
  }
  Point now_on_all_streams() {
    const std::lock_guard lock(mutex_);
    return {.on_all_streams = true, .ticket = last_ticket_};
  }
  void wait_for(const Point& point);
  bool poll(const Point& point);
  uint64_t newest(cudaStream_t handle) {
    const std::lock_guard lock(mutex_);
    return live(handle)->newest;
  }

  cudaStream_t create(bool is_blocking) {
    const std::lock_guard lock(mutex_);
    streams_.push_back(new CUstream_st{.is_blocking = is_blocking, .pending = {}, .newest = 0});
    return streams_.back();
  }
  void destroy(cudaStream_t handle) {
    wait_for(now(handle));
    const std::lock_guard lock(mutex_);
    streams_.erase(std::find(streams_.begin(), streams_.end(), handle));
    delete handle;
  }

  void throw_fault() {
    if (fault_ && keep_faults == 0) std::rethrow_exception(std::exchange(fault_, nullptr));
  }
  bool has_fault() const { return fault_ != nullptr; }

  std::recursive_mutex mutex_;

 private:
  CUstream_st* live(cudaStream_t handle) {
    CUstream_st* const stream = resolve(handle);
    if (stream == nullptr) throw Fault("simulated CUDA: a stream that does not exist, or no longer, is used");
    return stream;
  }
  static bool precedes(const CUstream_st& stream, uint64_t ticket) {
    return !stream.pending.empty() && stream.pending.front().ticket <= ticket;
  }
  CUstream_st* unfinished(const Point& point) const;
  bool is_reached(const Point& point);
  CUstream_st* blocker(const CUstream_st& stream);
  bool advance(CUstream_st& stream);
  bool step(const Point& target);
  void keep(std::exception_ptr fault);
  void complain(const Point& point) const;

  CUstream_st legacy_;
  std::vector<CUstream_st*> streams_{&legacy_};  // in the order of their creation
  uint64_t last_ticket_ = 0;
  uint64_t seed_ = kEager;
  std::mt19937_64 random_;
  uint64_t eighths_ = 0;  // how often, of eight times, the device goes on before an enqueue returns
  std::exception_ptr fault_;
  bool reports_at_exit_ = false;
};

// Never destroyed: device memory may be freed by static destructors.
Scheduler& scheduler() {
  static Scheduler* const instance = new Scheduler;
  return *instance;
}

void report_lost_fault() {
  if (!scheduler().has_fault()) return;
  std::fputs("simulated CUDA: the program ends with a fault that no call has thrown\n", stderr);
  std::_Exit(1);
}

void refuse_inside_operation() {
  if (in_operation)
    throw Fault("simulated CUDA: an operation of a stream calls the runtime; a kernel may not launch a kernel");
}

// A stream that has not reached the point; null: none.
CUstream_st* Scheduler::unfinished(const Point& point) const {
  if (!point.on_all_streams) return precedes(*point.stream, point.ticket) ? point.stream : nullptr;
  const auto found = std::find_if(streams_.begin(), streams_.end(),
                                  [&](const CUstream_st* stream) { return precedes(*stream, point.ticket); });
  return found == streams_.end() ? nullptr : *found;
}

// Whether the host, which asks, has waited for the point.
bool Scheduler::is_reached(const Point& point) {
  if (unfinished(point) != nullptr) return false;
  for (CUstream_st* stream : streams_)
    if ((point.on_all_streams || stream == point.stream) && stream->newest <= point.ticket) stream->newest = 0;
  return true;
}

// A stream that must go on before this one may; null: it may. Its first operation is older, so there is no cycle.
CUstream_st* Scheduler::blocker(const CUstream_st& stream) {
  const Operation& first = stream.pending.front();
  if (first.after != nullptr && !first.after->is_done) return first.after->point.stream;
  if (&stream != &legacy_) return stream.is_blocking && precedes(legacy_, first.ticket) ? &legacy_ : nullptr;
  const auto found = std::find_if(streams_.begin(), streams_.end(), [&](const CUstream_st* other) {
    return other != &legacy_ && other->is_blocking && precedes(*other, first.ticket);
  });
  return found == streams_.end() ? nullptr : *found;
}

// Lets the stream's first operation go on. True: it is done.
bool Scheduler::advance(CUstream_st& stream) {
  if (stream.pending.empty() || blocker(stream) != nullptr) return false;
  in_operation = true;
  try {
    const bool is_done = stream.pending.front().advance();
    in_operation = false;
    if (!is_done) return false;
  } catch (...) {
    in_operation = false;
    keep(std::current_exception());
    return true;
  }
  // What the operation owns may call the runtime when it goes, so it leaves the queue first.
  const Operation done = std::move(stream.pending.front());
  stream.pending.pop_front();
  if (done.completes != nullptr) {
    done.completes->time = std::chrono::steady_clock::now();
    done.completes->is_done = true;
  }
  return true;
}

// The device is lost: nothing that waits runs any more, and nobody waits for it.
void Scheduler::keep(std::exception_ptr fault) {
  if (!fault_) fault_ = std::move(fault);
  if (!std::exchange(reports_at_exit_, true)) std::atexit(report_lost_fault);
  std::vector<Operation> dropped;
  for (CUstream_st* stream : streams_) {
    std::move(stream->pending.begin(), stream->pending.end(), std::back_inserter(dropped));
    stream->pending.clear();
  }
  for (const Operation& operation : dropped)
    if (operation.completes != nullptr) operation.completes->is_done = true;
}

// One draw of the seed; `target` is what the host wants. True: an operation was completed.
bool Scheduler::step(const Point& target) {
  bool progress = false;
  if (seed_ == kEager) {
    for (CUstream_st* stream : streams_)
      while (advance(*stream)) progress = true;
    return progress;
  }
  if (seed_ == kLazy) {
    CUstream_st* stream = unfinished(target);
    if (stream == nullptr) return false;
    while (CUstream_st* const other = blocker(*stream)) stream = other;
    if (advance(*stream)) return true;
    // It polls something outside, which may need any other stream to go on.
    for (CUstream_st* other : streams_) progress = advance(*other) || progress;
    return progress;
  }
  std::vector<CUstream_st*> busy;
  for (CUstream_st* stream : streams_)
    if (!stream->pending.empty()) busy.push_back(stream);
  if (busy.empty()) return false;
  CUstream_st& stream = *busy[random_() % busy.size()];
  for (uint64_t n = 1 + random_() % 4; n > 0 && advance(stream); --n) progress = true;
  return progress;
}

void Scheduler::enqueue(cudaStream_t handle, Operation operation) {
  refuse_inside_operation();
  const std::lock_guard lock(mutex_);
  throw_fault();
  operation.ticket = ++last_ticket_;
  CUstream_st* const stream = live(handle);
  if (operation.completes != nullptr) operation.completes->point = {.stream = stream, .ticket = last_ticket_};
  stream->pending.push_back(std::move(operation));
  stream->newest = last_ticket_;
  const Point all{.on_all_streams = true, .ticket = last_ticket_};
  if (seed_ == kEager)
    while (step(all)) {
    }
  else if (seed_ != kLazy)
    while (random_() % 8 < eighths_) step(all);
  throw_fault();
}

void Scheduler::wait_for(const Point& point) {
  refuse_inside_operation();
  auto deadline = std::chrono::steady_clock::now() + kSilentWait;
  for (;;) {
    bool has_progressed = false;
    {
      const std::lock_guard lock(mutex_);
      throw_fault();
      if (is_reached(point)) return;
      has_progressed = step(point);
      throw_fault();
      if (std::chrono::steady_clock::now() > deadline) {
        complain(point);
        deadline = std::chrono::steady_clock::time_point::max();
      }
    }
    if (!has_progressed) std::this_thread::yield();  // other ranks share the cores
  }
}

bool Scheduler::poll(const Point& point) {
  refuse_inside_operation();
  const std::lock_guard lock(mutex_);
  throw_fault();
  if (is_reached(point)) return true;
  step(point);
  throw_fault();
  return false;
}

void Scheduler::complain(const Point& point) const {
  std::string text;
  for (const CUstream_st* stream : streams_)
    if (precedes(*stream, point.ticket)) text += std::string(" ") + stream->pending.front().what;
  std::fprintf(stderr, "simulated CUDA: the host has waited long; first in the streams:%s\n", text.c_str());
}

}  // namespace

void set_schedule_seed(uint64_t seed) { scheduler().seed(seed); }
uint64_t schedule_seed() { return scheduler().seed(); }

void enqueue(cudaStream_t stream, const char* what, std::function<bool()> advance) {
  scheduler().enqueue(stream, {.ticket = 0, .what = what, .advance = std::move(advance), .after = {}, .completes = {}});
}

cudaStream_t create_stream(bool is_blocking) { return scheduler().create(is_blocking); }
void destroy_stream(cudaStream_t stream) { scheduler().destroy(stream); }
bool is_stream(cudaStream_t stream) {
  const std::lock_guard lock(scheduler().mutex_);
  return scheduler().resolve(stream) != nullptr;
}

Point now(cudaStream_t stream) { return scheduler().now(stream); }
Point now_on_all_streams() { return scheduler().now_on_all_streams(); }
void wait_for(const Point& point) { scheduler().wait_for(point); }
bool poll(const Point& point) { return scheduler().poll(point); }
uint64_t newest_operation(cudaStream_t stream) { return scheduler().newest(stream); }
void progress() {
  if (in_operation) return;
  const KeepFaults keep;
  poll(now_on_all_streams());
}

std::shared_ptr<const Record> record(cudaStream_t stream) {
  auto record = std::make_shared<Record>();
  scheduler().enqueue(
      stream,
      {.ticket = 0, .what = "cudaEventRecord", .advance = [] { return true; }, .after = {}, .completes = record});
  return record;
}
void wait_in_stream(cudaStream_t stream, std::shared_ptr<const Record> record) {
  scheduler().enqueue(stream, {.ticket = 0,
                               .what = "cudaStreamWaitEvent",
                               .advance = [] { return true; },
                               .after = std::move(record),
                               .completes = {}});
}

KeepFaults::KeepFaults() { ++keep_faults; }
KeepFaults::~KeepFaults() { --keep_faults; }

}  // namespace sy::cuda_sim
