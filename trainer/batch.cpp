#include "trainer/batch.h"

#include <span>

namespace sy {

void BatchBuilder::add(const int32_t* tokens, const int32_t* targets, const int32_t* document_start, int64_t sample_id) {
  const auto row_begin = static_cast<int32_t>(tokens_.size());
  tokens_.insert(tokens_.end(), tokens, tokens + seq_length_);
  targets_.insert(targets_.end(), targets, targets + seq_length_);
  for (int64_t i = 0; i < seq_length_; ++i) {
    positions_.push_back(static_cast<int32_t>(i) - document_start[i]);
    first_keys_.push_back(row_begin + document_start[i]);
    num_targets_ += targets[i] >= 0 ? 1 : 0;
  }
  sample_ids_.push_back(sample_id);
}

void BatchBuilder::add_sample(const BlendedDataset& data, int64_t global_index) {
  std::vector<int32_t> tokens(static_cast<std::size_t>(seq_length_) + 1), start(static_cast<std::size_t>(seq_length_));
  data.sample(global_index, tokens.data(), start.data());
  add(tokens.data(), tokens.data() + 1, start.data(), global_index);
}

Batch BatchBuilder::build(Context& ctx) {
  const auto count = static_cast<int64_t>(tokens_.size());
  const auto ints = [&](const std::vector<int32_t>& v) {
    return ctx.from_host<int32_t>(std::span<const int32_t>(v), {count}, MemoryKind::data);
  };
  Batch batch;
  batch.token_T = ints(tokens_);
  batch.target_T = ints(targets_);
  batch.position_T = ints(positions_);
  batch.first_key_T = ints(first_keys_);
  batch.sequences = static_cast<int64_t>(sample_ids_.size());
  batch.sample_id_B = ctx.from_host<int64_t>(std::span<const int64_t>(sample_ids_), {batch.sequences}, MemoryKind::data);
  batch.seq_length = seq_length_;
  *this = BatchBuilder(seq_length_);
  return batch;
}

}  // namespace sy
