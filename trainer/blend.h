// Which corpus gives sample n of a weighted blend, by Megatron's greedy rule: the corpus whose share so far is furthest
// below its weight,  argmax_d  weight_d * max(n, 1) - count_d(n),  ties to the first. After n samples every count is
// near weight_d * n, without randomness, so the answer depends on the weights and n alone.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace sy {

class BlendSchedule {
 public:
  // weights: positive, at least one; normalised here.
  explicit BlendSchedule(std::vector<double> weights);

  struct Place {
    int64_t domain = 0;        // index of the corpus
    int64_t sample_index = 0;  // number of earlier samples from it
  };
  // Replays at most kStride decisions from a stored state; states up to the largest index asked for are kept (one
  // count per corpus and kStride samples). Safe from several threads.
  Place locate(int64_t global_index) const;

 private:
  static constexpr int64_t kStride = 256;

  int64_t choose(int64_t global_index, const int64_t* counts) const;

  std::vector<double> weights_;
  mutable std::mutex mutex_;
  mutable std::vector<int64_t> counts_;  // [states, corpora]: counts before sample state * kStride
};

}  // namespace sy
