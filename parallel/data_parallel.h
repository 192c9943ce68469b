// Data parallelism with ZeRO stage 1, bucket by bucket (csrc/nn/parameter.h).
//
// The ranks that hold the same parameters sum their gradients by a reduce-scatter, so that each has the sums of its own
// share; it updates its share of the exact values, and the rounded results are gathered by all. A bucket's
// reduce-scatter starts when the last of its gradients is complete, while backward goes on; buckets start in the same
// order on all ranks, since tapes are alike. Sums only: losses were divided before backward.
#pragma once

#include <unordered_map>
#include <vector>

#include "csrc/nn/parameter.h"
#include "parallel/comm.h"

namespace sy {

class DataParallel {
 public:
  // The parameters' training buffers must exist.
  DataParallel(Context& ctx, ParameterList& parameters);

  // For Tape::set_grad_ready.
  void gradient_ready(const Parameter& parameter);
  // After the last backward of a step: every bucket's share then holds the sum over ranks; the rest of its gradients
  // keeps this rank's own terms.
  void finish_gradients();
  // After the optimizer: every rank's share of the values starts on its way to every rank; the model waits for a bucket
  // before it first reads it (ParameterList::await).
  void gather_parameters();

 private:
  void start(std::size_t bucket);

  Context& ctx_;
  std::deque<ParameterBucket>& buckets_;
  std::unordered_map<const ParameterBucket*, std::size_t> index_;
  std::vector<std::size_t> missing_;  // gradients per bucket that are not complete yet
  std::vector<CommRequest> under_way_;
};

}  // namespace sy
