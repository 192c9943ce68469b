// Simulated mbarriers. A phase ends when no arrival and no byte is outstanding; the byte count may be negative inside
// a phase. Faults: use before init or outside the legal ranges, init of a live barrier, more arrivals than expected, a
// second phase that ends before anybody has waited for the first (its parity would be taken for a later phase's), and a
// block that exits inside a phase.
#include <fmt/format.h>

#include <map>

#include "tests/cuda_sim/units.h"

namespace sy::cuda_sim {

namespace {

constexpr int64_t kMaxCount = (1 << 20) - 1;

struct Mbarrier {
  int64_t expected = 0, pending = 0, tx = 0, phase = 0;
  bool waited_for = true;  // somebody has seen the end of phase - 1
};
std::map<uint32_t, Mbarrier> barriers;

std::string describe(uint32_t address, const Mbarrier& b) {
  return fmt::format("mbarrier {:#x} (phase {}, {} of {} arrivals outstanding, {} bytes outstanding)", address, b.phase,
                     b.pending, b.expected, b.tx);
}

Mbarrier& find(uint32_t address) {
  const auto found = barriers.find(address);
  if (found == barriers.end()) fault(fmt::format("there is no mbarrier at {:#x}", address));
  return found->second;
}

void end_phase_if_complete(uint32_t address, Mbarrier& b) {
  if (b.pending < 0) fault("more arrivals than it was initialised for: " + describe(address, b));
  if (std::abs(b.tx) > kMaxCount) fault("byte count out of range: " + describe(address, b));
  if (b.pending > 0 || b.tx != 0) return;
  if (!b.waited_for) fault("a second phase ends while nobody has waited for the first: " + describe(address, b));
  ++b.phase;
  b.pending = b.expected;
  b.waited_for = false;
}

// The phase before the current one has this parity; phase -1 counts as ended.
bool ended(const Mbarrier& b, uint32_t parity) { return ((b.phase - 1) & 1) == static_cast<int64_t>(parity); }

bool test(uint32_t address, uint32_t parity) {
  if (parity > 1) fault(fmt::format("parity {} of a wait", parity));
  Mbarrier& b = find(address);
  if (!ended(b, parity)) return false;
  b.waited_for = true;
  return true;
}

}  // namespace

void begin_mbarriers() { barriers.clear(); }

void end_mbarriers() {
  for (const auto& [address, b] : barriers)
    if (b.pending != b.expected || b.tx != 0) fault("the block exits inside a phase of " + describe(address, b));
}

void mbarrier_init(uint32_t address, uint32_t count) {
  shared_bytes().at(address, 8, 8, "an mbarrier");
  if (count < 1 || count > kMaxCount) fault(fmt::format("an mbarrier for {} arrivals", count));
  if (barriers.count(address)) fault("initialised again without inval: " + describe(address, barriers[address]));
  barriers[address] = {.expected = count, .pending = count};
}

void mbarrier_inval(uint32_t address) {
  find(address);
  barriers.erase(address);
}

void mbarrier_expect_tx(uint32_t address, uint32_t bytes) {
  Mbarrier& b = find(address);
  if (bytes > kMaxCount) fault(fmt::format("{} bytes expected at once: {}", bytes, describe(address, b)));
  b.tx += bytes;
  end_phase_if_complete(address, b);
}

void mbarrier_arrive(uint32_t address) {
  Mbarrier& b = find(address);
  --b.pending;
  end_phase_if_complete(address, b);
}

void mbarrier_complete_tx(uint32_t address, uint32_t bytes) {
  Mbarrier& b = find(address);
  b.tx -= bytes;
  end_phase_if_complete(address, b);
}

void mbarrier_add_pending(uint32_t address) { ++find(address).pending; }

// A failure takes time, as on hardware: all threads have a turn and one piece of asynchronous work gets done, so that a
// loop of waits ends however late the seed wants everything.
bool mbarrier_try_wait(uint32_t address, uint32_t parity) {
  if (test(address, parity)) return true;
  take_turns();
  async_work().advance(true);
  return test(address, parity);
}

void mbarrier_wait(uint32_t address, uint32_t parity) {
  if (test(address, parity)) return;
  wait_until({[=] { return ended(find(address), parity); },
              [=] {
                const Mbarrier& b = find(address);
                const char* alias = b.phase >= 2 ? ", whose last but one phase has ended with it" : "";
                return fmt::format("parity {} of {}{}", parity, describe(address, b), alias);
              }});
  test(address, parity);
}

MbarrierState mbarrier_state(uint32_t address) {
  const Mbarrier& b = find(address);
  return {b.phase, b.pending, b.tx};
}

}  // namespace sy::cuda_sim
