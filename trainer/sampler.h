// Global sample index -> micro-batch -> rank. Micro-batch m of a step that starts after `consumed` samples holds
// samples
//   consumed + m * micro_batch_size + [0, micro_batch_size)
// whatever the mesh; data parallelism only decides who runs it: wave w runs micro-batches w*dp .. w*dp + dp - 1 at the
// same time, rank r the r-th of them. The consumed count is the whole sampler state.
#pragma once

#include <cstdint>

namespace sy {

class Sampler {
 public:
  // UserError when global_batch_size is not a multiple of micro_batch_size * dp_size.
  Sampler(int64_t micro_batch_size, int64_t global_batch_size, int64_t dp_size, int64_t dp_rank);

  int64_t micro_batch_size() const { return micro_batch_size_; }
  int64_t global_batch_size() const { return global_batch_size_; }
  int64_t num_micro_batches() const { return global_batch_size_ / micro_batch_size_; }  // per step, over all ranks
  int64_t num_waves() const { return num_micro_batches() / dp_size_; }                  // per step, on each rank
  // The micro-batch that this rank runs in wave w.
  int64_t micro_batch(int64_t wave) const { return wave * dp_size_ + dp_rank_; }
  // First sample of a micro-batch; the others follow.
  int64_t first_sample(int64_t consumed, int64_t micro_batch) const {
    return consumed + micro_batch * micro_batch_size_;
  }

 private:
  int64_t micro_batch_size_, global_batch_size_, dp_size_, dp_rank_;
};

}  // namespace sy
