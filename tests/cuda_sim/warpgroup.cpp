// Simulated instructions that a whole warp or warpgroup executes: elect.sync, named barriers, setmaxnreg.
//
// The elected lane follows from the seed. A named barrier releases its waiters when the stated number of threads has
// come. Registers come from the pool with which the block started; an increase waits until the pool has them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tests/cuda_sim/device.h"
#include "tests/cuda_sim/units.h"

namespace sy::cuda_sim {

namespace {

constexpr int kRegistersPerBlock = 64 * 1024;

struct NamedBarrier {
  int threads = 0, arrived = 0;
  uint64_t generation = 0;
};

struct WarpgroupRegisters {
  Rendezvous rendezvous{};
  int per_thread = 0;
};

std::array<NamedBarrier, 16> named;
std::vector<WarpgroupRegisters> registers;
int free_registers;

// Every thread gets what the compiler may use with one block per multiprocessor.
void fill_pool() {
  const int threads = num_threads();
  const int at_entry = std::min(256, kRegistersPerBlock / threads / 8 * 8);
  registers.assign(static_cast<size_t>(threads) / 128, WarpgroupRegisters{.per_thread = at_entry});
  free_registers = 0;
}

}  // namespace

void begin_warpgroups() {
  named = {};
  registers.clear();
}

bool elect_one() {
  warp_collective(Collective::kSync, 0xffffffffu, 0, 0, Site::current());
  return lane_id() == static_cast<int>(async_work().seed() % 32);
}

void named_barrier(int id, int threads, bool wait) {
  if (id < 1 || id > 15) fault(fmt::format("named barrier {}: 1 to 15 are free", id));
  if (threads < 32 || threads % 32 != 0) fault(fmt::format("named barrier {} of {} threads", id, threads));
  warp_collective(Collective::kSync, 0xffffffffu, 0, 0, Site::current());
  NamedBarrier& b = named[static_cast<size_t>(id)];
  if (b.arrived > 0 && b.threads != threads)
    fault(fmt::format("named barrier {} of {} and of {} threads: {}", id, b.threads, threads,
                      describe_thread(thread_rank())));
  b.threads = threads;
  const uint64_t generation = b.generation;
  if (++b.arrived == threads) {
    b.arrived = 0;
    ++b.generation;
  } else if (wait) {
    wait_until({[&] { return b.generation != generation; },
                [&] { return fmt::format("named barrier {}, where {} of {} threads are", id, b.arrived, threads); }});
  }
}

void set_max_registers(int count, bool increase) {
  if (count < 24 || count > 256 || count % 8 != 0) fault(fmt::format("setmaxnreg {}", count));
  const int rank = warpgroup_rank("setmaxnreg");
  if (registers.empty()) fill_pool();
  WarpgroupRegisters& own = registers[static_cast<size_t>(rank)];
  if (!own.rendezvous.arrive(128, increase ? "setmaxnreg.inc" : "setmaxnreg.dec")) return;
  if (increase ? count < own.per_thread : count > own.per_thread)
    fault(fmt::format("setmaxnreg.{} {} of a warpgroup that has {}", increase ? "inc" : "dec", count, own.per_thread));
  const int more = (count - own.per_thread) * 128;
  if (more > free_registers)
    wait_until({[=] { return more <= free_registers; },
                [=] { return fmt::format("{} registers, {} are free in the block's pool", more, free_registers); }});
  free_registers -= more;
  own.per_thread = count;
  own.rendezvous.release();
}

}  // namespace sy::cuda_sim
