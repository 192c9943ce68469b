// Device batches from host samples: tokens, targets, positions, the first visible key of every token, sample ids.
#pragma once

#include <cstdint>
#include <vector>

#include "csrc/models/decoder.h"
#include "trainer/dataset.h"

namespace sy {

// Host-side assembly of one micro-batch; rows are added in order.
class BatchBuilder {
 public:
  BatchBuilder(int64_t seq_length) : seq_length_(seq_length) {}

  // tokens, targets [S] (target < 0: ignored), document_start [S]: first position of each token's document in the row.
  void add(const int32_t* tokens, const int32_t* targets, const int32_t* document_start, int64_t sample_id);
  void add_sample(const BlendedDataset& data, int64_t global_index);
  // So far: targets that count, and sequences. build() makes the batch on the device and empties the builder.
  int64_t num_targets() const { return num_targets_; }
  int64_t num_sequences() const { return static_cast<int64_t>(sample_ids_.size()); }
  Batch build(Context& ctx);

 private:
  int64_t seq_length_;
  int64_t num_targets_ = 0;
  std::vector<int32_t> tokens_, targets_, positions_, first_keys_;
  std::vector<int64_t> sample_ids_;
};

}  // namespace sy
