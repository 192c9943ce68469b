// The block executor: fibers, barriers, warp collectives, fault detection. See executor.h.
//
// A fiber takes the next thread that has not started, runs it to its end and goes on with the next one; only a thread
// that must wait keeps its fiber. A kernel without barriers therefore runs as a plain loop on one fiber.
#include "tests/cuda_sim/executor.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/context/detail/fcontext.hpp>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "tests/cuda_sim/access_checker.h"
#include "tests/cuda_sim/block.h"
#include "tests/cuda_sim/dependent_launch.h"
#include "tests/cuda_sim/device.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// In one section: the access checker knows them by their range.
[[gnu::section("sy_built_in")]] uint3 threadIdx{};
[[gnu::section("sy_built_in")]] uint3 blockIdx{};
[[gnu::section("sy_built_in")]] dim3 blockDim{};
[[gnu::section("sy_built_in")]] dim3 gridDim{};

namespace sy::cuda_sim {
namespace {

namespace ctx = boost::context::detail;

// One control flow: its saved registers, its stack, and what ASan must know of a switch.
struct Flow {
  ctx::fcontext_t context = nullptr;
  void* stack_bottom = nullptr;
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;
};

void switch_flow(Flow& from, Flow& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_bottom, to.stack_bytes);
#endif
  const ctx::transfer_t back = ctx::jump_fcontext(to.context, &from);
  // Whoever switched to us left its registers in `back`; it is the flow that it named.
  static_cast<Flow*>(back.data)->context = back.fctx;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

struct Fiber : Flow {};

enum class State : uint8_t { kUnstarted, kReady, kAtBarrier, kInCollective, kWaiting, kExited };

struct Thread {
  uint3 index{};
  Fiber* fiber = nullptr;
  State state = State::kUnstarted;
  Site site;
  // Of the warp collective this thread takes part in.
  uint64_t value = 0, result = 0;
  int source_lane = 0;
  const Condition* condition = nullptr;  // of kWaiting
};

// A warp collective that some of its lanes still have to reach.
struct OpenCollective {
  Collective kind;
  unsigned mask, arrived;
  Site site;
};

constexpr size_t kStackBytes = 256 * 1024;
constexpr std::align_val_t kSharedAlignment{1024};

struct SharedDeleter {
  void operator()(unsigned char* p) const { ::operator delete[](p, kSharedAlignment); }
};

class Executor {
 public:
  void run(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body,
           uint64_t seed);

  uint64_t collective(Collective kind, unsigned mask, uint64_t value, int source_lane, const Site& site);
  void barrier(const Site& site);
  [[noreturn]] void stop(const std::string& message);
  void wait_until(const Condition& condition);
  int lane() const { return current_ % 32; }
  int current() const { return current_; }
  int num_threads() const { return static_cast<int>(threads_.size()); }
  std::string where(int thread) const;
  unsigned char* shared() const { return shared_.get(); }

 private:
  void run_block();
  void wait(State state);
  void fiber_loop();
  static void fiber_entry(ctx::transfer_t from);
  Fiber* take_idle_fiber();
  void abandon_block();
  void finish_collective(const OpenCollective& done, Thread* lanes);
  [[noreturn]] void report_deadlock() const;

  Flow main_;
  std::vector<std::unique_ptr<Fiber>> all_fibers_;
  std::vector<Fiber*> idle_;
  Fiber* running_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<std::vector<OpenCollective>> open_;  // per warp: more than one only if lanes use disjoint masks
  std::vector<int> order_;                         // in which threads start and resume
  size_t next_unstarted_ = 0;
  int current_ = 0;
  size_t exited_ = 0, at_barrier_ = 0;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr error_;
  std::unique_ptr<unsigned char[], SharedDeleter> shared_;
};

// Never destroyed: fibers that rest in their loop have nothing to unwind.
Executor& executor() {
  static Executor* const instance = new Executor;
  return *instance;
}

std::string describe(const uint3& v) { return fmt::format("({},{},{})", v.x, v.y, v.z); }

std::string describe(const Site& site) {
  const std::string file = site.file_name();
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), site.line());
}

bool same_place(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

std::string Executor::where(int thread) const {
  const Thread& t = threads_[thread];
  const std::string text = fmt::format("thread {} of block {}", describe(t.index), describe(blockIdx));
  switch (t.state) {
    case State::kExited:
      return text + " exited";
    case State::kAtBarrier:
      return text + " waits at the barrier " + describe(t.site);
    case State::kInCollective:
      return text + " waits in the warp collective " + describe(t.site);
    case State::kWaiting:
      return text + " waits for " + t.condition->describe();
    default:
      return text + " runs";
  }
}

Fiber* Executor::take_idle_fiber() {
  if (idle_.empty()) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* mapping =
        mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) fault("no memory for a fiber's stack");
    mprotect(mapping, page, PROT_NONE);  // a stack overflow faults instead of overwriting the neighbour
    auto fiber = std::make_unique<Fiber>();
    fiber->stack_bottom = static_cast<unsigned char*>(mapping) + page;
    // Stacks that all end at the same offset would compete for the same cache sets.
    fiber->stack_bytes = kStackBytes - (all_fibers_.size() % 12) * 320;
    idle_.push_back(fiber.get());
    all_fibers_.push_back(std::move(fiber));
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  if (!fiber->context) {
    fiber->fake_stack = nullptr;
    void* top = static_cast<unsigned char*>(fiber->stack_bottom) + fiber->stack_bytes;
    fiber->context = ctx::make_fcontext(top, fiber->stack_bytes, &Executor::fiber_entry);
  }
  return fiber;
}

void Executor::fiber_entry(ctx::transfer_t from) {
  Executor& self = executor();
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &self.main_.stack_bytes);
  self.main_.stack_bottom = const_cast<void*>(bottom);
#endif
  static_cast<Flow*>(from.data)->context = from.fctx;
  self.fiber_loop();
}

// A fiber's life: run threads while there are unstarted ones, then rest until a block needs it again.
void Executor::fiber_loop() {
  Fiber* const self = running_;
  for (;;) {
    while (next_unstarted_ < order_.size() && !error_) {
      current_ = order_[next_unstarted_++];
      threads_[current_].fiber = self;
      threads_[current_].state = State::kReady;
      threadIdx = threads_[current_].index;
      access_checker::start_thread(current_, self->stack_bottom, self->stack_bytes);
      try {
        (*body_)();
      } catch (...) {
        error_ = std::current_exception();
      }
      threads_[current_].state = State::kExited;
      ++exited_;
    }
    idle_.push_back(self);
    switch_flow(*self, main_);
  }
}

void Executor::wait(State state) {
  Thread& self = threads_[current_];
  self.state = state;
  switch_flow(*self.fiber, main_);
  // The executor resumes a thread only after a release has made it ready, with current_ and threadIdx restored.
}

void Executor::run_block() {
  next_unstarted_ = exited_ = at_barrier_ = 0;
  for (Thread& t : threads_) t.state = State::kUnstarted;
  for (auto& collectives : open_) collectives.clear();
  while (exited_ < threads_.size()) {
    bool progress = false;
    while (next_unstarted_ < order_.size() && !error_) {
      progress = true;
      running_ = take_idle_fiber();
      switch_flow(main_, *running_);
    }
    for (const int i : order_) {
      if (error_) break;
      Thread& t = threads_[i];
      if (t.state == State::kWaiting && t.condition->holds()) t.state = State::kReady;
      if (t.state != State::kReady) continue;
      progress = true;
      current_ = i;
      threadIdx = t.index;
      access_checker::resume_thread(i, t.fiber->stack_bottom, t.fiber->stack_bytes);
      switch_flow(main_, *t.fiber);
    }
    if (error_) std::rethrow_exception(error_);
    if (!advance_units(!progress) && !progress) report_deadlock();
  }
}

void Executor::report_deadlock() const {
  // One thread per kind of place suffices to see the mistake.
  std::string text = "the block cannot go on:";
  std::vector<const Thread*> told;
  for (size_t i = 0; i < threads_.size(); ++i) {
    const Thread& t = threads_[i];
    const bool known = std::any_of(told.begin(), told.end(), [&](const Thread* o) {
      if (o->state != t.state || t.state == State::kExited) return o->state == t.state;
      if (t.state == State::kWaiting) return o->condition->describe() == t.condition->describe();
      return same_place(o->site, t.site);
    });
    if (known) continue;
    text += (told.empty() ? " " : "; ") + where(static_cast<int>(i));
    told.push_back(&t);
  }
  fault(text);
}

void Executor::wait_until(const Condition& condition) {
  threads_[current_].condition = &condition;
  wait(State::kWaiting);
}

void Executor::barrier(const Site& site) {
  Thread& self = threads_[current_];
  self.site = site;
  self.state = State::kAtBarrier;
  if (++at_barrier_ < threads_.size()) return wait(State::kAtBarrier);
  for (const Thread& t : threads_)
    if (!same_place(t.site, site))
      fault("divergent barrier: " + where(static_cast<int>(&t - threads_.data())) + "; " + where(current_));
  at_barrier_ = 0;
  access_checker::block_barrier();
  for (Thread& t : threads_) t.state = State::kReady;
}

uint64_t Executor::collective(Collective kind, unsigned mask, uint64_t value, int source_lane, const Site& site) {
  Thread& self = threads_[current_];
  const unsigned own_bit = 1u << lane();
  Thread* const lanes = &self - lane();
  const int first = current_ - lane();
  self.value = value, self.source_lane = source_lane, self.site = site;
  self.state = State::kInCollective;
  if (!(mask & own_bit)) fault("the mask leaves out the calling lane: " + where(current_));
  if (kind == Collective::kShuffle && !(mask >> source_lane & 1u))
    fault(fmt::format("shuffle from lane {}, which the mask leaves out: {}", source_lane, where(current_)));

  std::vector<OpenCollective>& open = open_[current_ / 32];
  auto joined = std::find_if(open.begin(), open.end(), [&](const OpenCollective& c) {
    return c.kind == kind && c.mask == mask && same_place(c.site, site);
  });
  for (auto other = open.begin(); other != open.end(); ++other)
    if (other != joined && (other->mask & own_bit) && (other->arrived & mask))  // each waits for the other
      fault("divergent warp collective: " + where(first + __builtin_ctz(other->arrived & mask)) + "; " +
            where(current_));
  if (joined == open.end()) {
    for (int l = 0; l < 32; ++l) {
      if (!(mask >> l & 1u)) continue;
      if (first + l >= static_cast<int>(threads_.size()))
        fault(fmt::format("the mask names lane {}, which the block does not have: {}", l, where(current_)));
      if (lanes[l].state == State::kExited)
        fault("divergent warp collective: " + where(first + l) + "; " + where(current_));
    }
    joined = open.insert(open.end(), {kind, mask, 0u, site});
  }
  joined->arrived |= own_bit;
  if (joined->arrived != mask) {
    wait(State::kInCollective);
    return self.result;
  }
  const OpenCollective done = *joined;
  open.erase(joined);
  if (kind == Collective::kSync) access_checker::warp_barrier(current_ / 32, mask);
  finish_collective(done, lanes);
  return self.result;
}

void Executor::finish_collective(const OpenCollective& done, Thread* lanes) {
  const auto lanes_with = [&](auto&& condition) {
    uint64_t bits = 0;
    for (int l = 0; l < 32; ++l)
      if (done.mask >> l & 1u) bits |= static_cast<uint64_t>(condition(lanes[l])) << l;
    return bits;
  };
  const uint64_t votes =
      done.kind == Collective::kVote ? lanes_with([](const Thread& t) { return t.value != 0; }) : uint64_t{0};
  for (int l = 0; l < 32; ++l) {
    if (!(done.mask >> l & 1u)) continue;
    Thread& t = lanes[l];
    t.state = State::kReady;
    t.result = votes;
    if (done.kind == Collective::kShuffle) t.result = lanes[t.source_lane].value;
    if (done.kind == Collective::kMatch) t.result = lanes_with([&](const Thread& o) { return o.value == t.value; });
  }
}

void Executor::stop(const std::string& message) {
  error_ = std::make_exception_ptr(Fault("simulated CUDA: " + message));
  switch_flow(*threads_[current_].fiber, main_);
  __builtin_unreachable();
}

// After a fault the suspended threads never go on: their fibers start afresh, without unwinding.
void Executor::abandon_block() {
  idle_.clear();
  for (auto& fiber : all_fibers_) {
    fiber->context = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber->stack_bottom, fiber->stack_bytes);
#endif
    idle_.push_back(fiber.get());
  }
  error_ = nullptr;
}

void Executor::run(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body,
                   uint64_t seed) {
  body_ = &body;
  blockDim = block;
  gridDim = grid;
  threads_.assign(static_cast<size_t>(block.x) * block.y * block.z, Thread{});
  for (size_t i = 0; i < threads_.size(); ++i) {
    const unsigned n = static_cast<unsigned>(i);
    threads_[i].index = {n % block.x, n / block.x % block.y, n / block.x / block.y};
  }
  open_.resize((threads_.size() + 31) / 32);
  order_.resize(threads_.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (seed == 1) {
    std::reverse(order_.begin(), order_.end());
  } else if (seed != 0) {
    std::mt19937_64 random(seed);
    for (size_t i = order_.size() - 1; i > 0; --i) std::swap(order_[i], order_[random() % (i + 1)]);
  }
  if (shared_bytes > 0) shared_.reset(new (kSharedAlignment) unsigned char[shared_bytes]);
  access_checker::begin_launch(kernel);
  try {
    for (unsigned z = 0; z < grid.z; ++z)
      for (unsigned y = 0; y < grid.y; ++y)
        for (unsigned x = 0; x < grid.x; ++x) {
          blockIdx = {x, y, z};
          // Nothing may be read before it was written: as floats these bytes are NaN.
          if (shared_bytes > 0) std::memset(shared_.get(), 0xff, shared_bytes);
          access_checker::begin_block(shared_.get(), shared_bytes);
          begin_units(shared_.get(), shared_bytes, seed);
          run_block();
          end_units();
        }
  } catch (...) {
    end_grid();
    access_checker::end_launch();
    abandon_block();
    shared_.reset();
    throw;
  }
  end_grid();
  access_checker::end_launch();
  shared_.reset();
}

Counters counts;

}  // namespace

Counters& counters() { return counts; }
void reset_counters() { counts = Counters{}; }
void count_float_atomic() { ++counts.float_atomics; }

uint64_t warp_collective(Collective kind, unsigned mask, uint64_t value, int source_lane, const Site& site) {
  return executor().collective(kind, mask, value, source_lane, site);
}
void block_barrier(const Site& site) { executor().barrier(site); }
int lane_id() { return executor().lane(); }
void stop_block(const std::string& message) { executor().stop(message); }
void wait_until(const Condition& condition) { executor().wait_until(condition); }
int thread_rank() { return executor().current(); }
int num_threads() { return executor().num_threads(); }
std::string describe_thread(int rank) { return executor().where(rank); }

unsigned char* dynamic_shared() {
  unsigned char* p = executor().shared();
  if (p == nullptr) fault("the kernel uses dynamic shared memory but was launched with none");
  return p;
}

void launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes, cudaStream_t stream,
            std::function<void()> thread_body, bool may_start_early) {
  const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
  const bool legal_grid =
      grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && grid.x <= 0x7fffffffu && grid.y <= 65535u && grid.z <= 65535u;
  if (threads < 1 || threads > kMaxThreadsPerBlock || block.z > 64 || !legal_grid)
    return set_last_error(cudaErrorInvalidConfiguration);
  if (dynamic_shared_bytes > dynamic_shared_limit(kernel)) return set_last_error(cudaErrorInvalidValue);
  if (!is_stream(stream)) return set_last_error(cudaErrorInvalidResourceHandle);
  ++counts.launches;
  counts.blocks += static_cast<int64_t>(grid.x) * grid.y * grid.z;
  // Streams run one operation at a time, so shared variables may exist once.
  const auto self = std::make_shared<Grid>(Grid{.may_start_early = may_start_early});
  enqueue(stream, "kernel", [=, seed = schedule_seed(), before = may_start_early ? grid_before(stream) : nullptr] {
    begin_grid(self.get(), before.get());
    executor().run(kernel, grid, block, dynamic_shared_bytes, thread_body, seed);
    return true;
  });
  set_newest_grid(stream, self);
}

}  // namespace sy::cuda_sim
