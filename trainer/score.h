// Log-probabilities of given texts: sliding windows over a long stream of tokens, and the rows that a model scores.
//
// A row is `n` inputs and, shifted by one, `n` targets, of which those from `first_scored` on count. Experts take every
// token that chooses them, so that a row's score depends on the row alone.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "csrc/models/decoder.h"

namespace sy {

// Inputs begin .. end - 1 of a stream predict tokens begin + 1 .. end, of which first_scored + 1 .. end count.
struct ScoreWindow {
  int64_t begin = 0, first_scored = 0, end = 0;
};

// Windows of seq_length inputs, or all there are, that end every `stride` targets: each of the targets 1 .. num_targets
// counts once, in a window that holds at least seq_length - stride inputs before it once the stream has so many. The
// last window reaches back from the end. stride is at most seq_length.
std::vector<ScoreWindow> sliding_windows(int64_t num_targets, int64_t seq_length, int64_t stride);

struct ScoredRow {
  std::vector<int32_t> tokens;          // n + 1
  std::vector<int32_t> document_start;  // n: first input of each input's document in the row
  int64_t first_scored = 0;             // below n
};

// The summed log-probability (nats) of each row's counted targets. `row` is called once per index, in order; `progress`
// after every batch of up to batch_size rows with the number of rows done. Short rows are padded to the longest of
// their batch, so rows are best given in order of length. UserError if routing looks at other tokens.
std::vector<double> score_rows(Context& ctx, Decoder& decoder, int64_t num_rows, int64_t batch_size,
                               const std::function<ScoredRow(int64_t)>& row,
                               const std::function<void(int64_t)>& progress);

}  // namespace sy
