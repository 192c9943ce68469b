// Simulated cp.async: 16-byte copies by threads, generic proxy, in groups per thread. The copy reads its source and
// writes its destination when it is carried out, which is at the latest when its thread waits for its group or when the
// thread's mbarrier arrival comes due.
#include <fmt/format.h>

#include <cstring>
#include <deque>
#include <vector>

#include "tests/cuda_sim/units.h"

namespace sy::cuda_sim {

namespace {

struct ThreadCopies {
  std::vector<uint64_t> open;  // since the last commit
  std::deque<std::vector<uint64_t>> groups;
};
std::vector<ThreadCopies> threads;

ThreadCopies& of(int thread) {
  if (threads.empty()) threads.resize(kMaxThreadsPerBlock);
  return threads[static_cast<size_t>(thread)];
}

void finish(const std::vector<uint64_t>& copies) {
  for (const uint64_t id : copies) async_work().finish(id);
}

}  // namespace

void begin_copies_async() { threads.clear(); }

void end_copies_async() { begin_copies_async(); }

void copy_async_16(uint32_t to, const void* from, uint32_t bytes) {
  if (bytes > 16) fault(fmt::format("cp.async of {} bytes out of 16", bytes));
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fault("cp.async from an address that is not a multiple of 16");
  shared_bytes().at(to, 16, 16, "cp.async");
  shared_bytes().expect(to, 16, "cp.async");
  const int thread = thread_rank();
  of(thread).open.push_back(async_work().start([=] {
    unsigned char values[16] = {};
    std::memcpy(values, from, bytes);
    shared_bytes().write(to, values, 16, thread, SharedBytes::Writer::kCopy);
  }));
}

void copy_async_commit() {
  ThreadCopies& own = of(thread_rank());
  own.groups.push_back(std::move(own.open));
  own.open.clear();
}

void copy_async_wait(int num_pending_groups) {
  ThreadCopies& own = of(thread_rank());
  for (; own.groups.size() > static_cast<size_t>(num_pending_groups); own.groups.pop_front())
    finish(own.groups.front());
}

void copy_async_arrive(uint32_t barrier, bool counted_by_init) {
  if (!counted_by_init) mbarrier_add_pending(barrier);
  const ThreadCopies& own = of(thread_rank());
  std::vector<uint64_t> earlier = own.open;
  for (const std::vector<uint64_t>& group : own.groups) earlier.insert(earlier.end(), group.begin(), group.end());
  async_work().start([=, earlier = std::move(earlier)] {
    finish(earlier);
    mbarrier_arrive(barrier);
  });
}

}  // namespace sy::cuda_sim
