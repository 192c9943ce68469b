// The asynchronous units of the block that runs, for each other: one instance, started afresh with every block.
#pragma once

#include "tests/cuda_sim/async_work.h"
#include "tests/cuda_sim/block.h"
#include "tests/cuda_sim/hopper.h"
#include "tests/cuda_sim/shared_bytes.h"

namespace sy::cuda_sim {

SharedBytes& shared_bytes();
AsyncWork& async_work();

// complete_tx of a copy that has moved `bytes`.
void mbarrier_complete_tx(uint32_t address, uint32_t bytes);
// Raises the number of arrivals that the current phase waits for.
void mbarrier_add_pending(uint32_t address);

// Suspends the running thread until all others have had a turn.
void take_turns();

// Threads of a warpgroup that must execute the same instruction together. Each leaves its operands; the last to come
// acts for all.
class Rendezvous {
 public:
  // Returns true to the last thread, at once; it calls release() when it has acted. Others return false after that.
  bool arrive(int threads, const char* instruction);
  void release();

 private:
  int arrived_ = 0;
  uint64_t generation_ = 0;
  const char* instruction_ = "";
};

// The warpgroup of the running thread; faults where the block has only a part of it.
int warpgroup_rank(const char* instruction);

// Per unit: forget the last block; fault if the block that ends has left something undone.
void begin_mbarriers();
void end_mbarriers();
void begin_copies_async();
void end_copies_async();
void begin_tensor_copies();
void end_tensor_copies();
void begin_wgmma();
void end_wgmma();
void begin_warpgroups();

}  // namespace sy::cuda_sim
