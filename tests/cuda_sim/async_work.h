// Work of asynchronous units: started by a thread, carried out at a moment that the program cannot rely on.
//
// The schedule seed picks the moments: 0 as late as possible, the newest work first (only where somebody waits for it
// or no thread can go on); 1 as early as possible, when it starts; any other seed at rounds drawn from it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>

namespace sy::cuda_sim {

class AsyncWork {
 public:
  void begin_block(uint64_t seed);

  // Returns an id for finish().
  uint64_t start(std::function<void()> carry_out);
  // Carries it out now, unless that has happened.
  void finish(uint64_t id);
  bool advance(bool must);
  bool idle() const { return pending_.empty(); }

  // True where the seed wants something at the earliest moment that is legal.
  bool draw_early();
  // In how many pieces a copy arrives.
  int draw_pieces();
  uint64_t seed() const { return seed_; }

 private:
  uint64_t seed_ = 0, next_id_ = 1;
  std::minstd_rand random_;
  std::map<uint64_t, std::function<void()>> pending_;
};

}  // namespace sy::cuda_sim
