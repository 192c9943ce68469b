// Evaluation: mean loss over held-out windows, shared out over the ranks. Windows are scored without a tape, with
// routing as in inference (no noise, evaluation capacity).
#pragma once

#include <memory>
#include <vector>

#include "csrc/io/tokenizer.h"
#include "csrc/models/decoder.h"
#include "trainer/dataset.h"

namespace sy {

struct EvalReport {
  double loss = 0;           // nats per target token
  double bits_per_byte = 0;  // of the text behind the targets
  int64_t tokens = 0;
};

// All ranks of ctx's mesh call, and score equal shares. Scores up to `max_windows` windows of all sets together (0:
// all), micro_batch_size at a time.
EvalReport evaluate(Context& ctx, Decoder& decoder, const std::vector<std::unique_ptr<EvalDataset>>& sets,
                    const Tokenizer& tokenizer, int64_t seq_length, int64_t micro_batch_size, int64_t max_windows);

}  // namespace sy
