#include "tests/cuda_sim/units.h"

#include <fmt/format.h>

#include "tests/cuda_sim/dependent_launch.h"

namespace sy::cuda_sim {

SharedBytes& shared_bytes() {
  static SharedBytes instance;
  return instance;
}

AsyncWork& async_work() {
  static AsyncWork instance;
  return instance;
}

void begin_units(unsigned char* shared, size_t bytes, uint64_t seed) {
  shared_bytes().begin_block(shared, bytes, seed);
  async_work().begin_block(seed);
  begin_mbarriers();
  begin_copies_async();
  begin_tensor_copies();
  begin_wgmma();
  begin_warpgroups();
  begin_early_block();
}

bool advance_units(bool no_thread_can_go_on) {
  return async_work().advance(no_thread_can_go_on) || (no_thread_can_go_on && complete_earlier_grid());
}

void end_units() {
  end_wgmma();
  end_tensor_copies();
  end_copies_async();
  if (!async_work().idle()) fault("the block exits while a copy into its shared memory is under way");
  end_mbarriers();
  end_early_block();
}

void take_turns() {
  wait_until({[] { return true; }, [] { return std::string("its turn"); }});
}

bool Rendezvous::arrive(int threads, const char* instruction) {
  if (arrived_ > 0 && instruction_ != instruction)
    fault(fmt::format("divergent warpgroup: {} executes {} while others execute {}", describe_thread(thread_rank()),
                      instruction, instruction_));
  instruction_ = instruction;
  if (++arrived_ == threads) return true;
  const uint64_t generation = generation_;
  wait_until({[&] { return generation_ != generation; },
              [&] { return fmt::format("{}: {} of {} threads are there", instruction, arrived_, threads); }});
  return false;
}

void Rendezvous::release() {
  arrived_ = 0;
  ++generation_;
}

int warpgroup_rank(const char* instruction) {
  const int rank = thread_rank() / 128;
  if ((rank + 1) * 128 > num_threads())
    fault(fmt::format("{} needs the 128 threads of a warpgroup: {}", instruction, describe_thread(thread_rank())));
  return rank;
}

}  // namespace sy::cuda_sim
